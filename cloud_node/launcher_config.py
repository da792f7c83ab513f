"""The launcher's configuration file."""

from pydantic import Field

from cloud_node.service import ServiceConfig

__all__ = ["LauncherConfig"]


class LauncherConfig(ServiceConfig):
    """Which node a launcher starts, and where it is asked to."""

    socket: str
    """Path of the AF_UNIX socket (made 0600), at most 107 bytes. ``NAME.sock``."""
    supervisor_uid: int | None = Field(None, ge=0, lt=2**32 - 1)
    """Who may speak to it beside its own user and root; set, its folder says who may reach it."""
    node_config: str
    """Path of the node's configuration file."""
    node_log: str | None = None
    """File the node's events are appended to; unset: the launcher's standard error."""
    start_timeout_s: float = Field(60.0, gt=0, le=3600)
    stop_timeout_s: float = Field(35.0, gt=0, le=3600)
    """From SIGTERM to SIGKILL; longer than the node's own ``drain_s``."""
