"""A whole cloud in one process, for tests and measurements: real parties, real TLS, loopback only.

Trusts nothing new: what is left out is processes, Ray and a model. The evidence is
``unsafe_software`` under a development root made for the occasion, and the store is in memory.
"""

from cloud_node.testing.cloud import UnsafeCloud
from cloud_node.testing.node import OpenNode, open_node
from cloud_node.testing.world_log import WorldLog

__all__ = ["OpenNode", "UnsafeCloud", "WorldLog", "open_node"]
