"""``lanai cloud``: what an operator types, and whoever inspects what an operator runs."""

from cloud_node.cli.cloud import cloud
from cloud_node.cli.inspect import node

__all__ = ["cloud"]

cloud.add_command(node)
