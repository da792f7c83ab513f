"""Names of a tree's pieces, and the states that a launcher tells of its node."""

from enum import StrEnum

__all__ = ["NodeState", "PieceName"]


class PieceName(StrEnum):
    """The lasting processes of one node, below its launcher."""

    FRONT = "front"
    KEYHOLDER = "keyholder"
    ZYGOTE = "zygote"
    ENGINE = "engine"


class NodeState(StrEnum):
    """What a launcher says of its node."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    UNRESPONSIVE = "unresponsive"
    DIED = "died"
    """A piece ended again and again, and the tree gave up."""
