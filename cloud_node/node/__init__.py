"""The node: the only place in the cloud where a request is plain, for as long as it runs.

Trusts the keys it makes at start, the weights it measured and the engine it spawned. Trusts the
store for at-most-once only beside its own replay set, and the log for nothing: devices check.
Refuses headers that are expired, replayed or not addressed to it before any key is unwrapped, and
unsafe evidence outside development. Keeps no request after its last frame.
"""

from cloud_node.node.config import NodeConfig

__all__ = ["NodeConfig"]
