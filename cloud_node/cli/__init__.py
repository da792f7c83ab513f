"""``lanai cloud``: what an operator types."""

from cloud_node.cli.cloud import cloud

__all__ = ["cloud"]
