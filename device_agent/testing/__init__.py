"""Stand-ins for tests: a cloud without a cluster, with the real seals, tokens and verification.

Trusts nothing new: what is faked is the network and the model's answer, never a check. Its evidence
is ``unsafe_software`` under a development root made for the test.
"""

from device_agent.testing.cloud import InMemoryCloud, Script

__all__ = ["InMemoryCloud", "Script"]
