"""The cluster's own log through the relay; `trust.log.sources` has the other places."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_agent.relay_view import RelayView

__all__ = ["RelaySource"]


class RelaySource:
    """The cluster's own log, through the relay, which does not see what is read."""

    def __init__(self, view: "RelayView") -> None:
        self._view = view

    def read(self, path: str, limit: int) -> bytes | None:
        """Raises ``CloudError``, ``TrustError``."""
        data = self._view.file(f"log/{path}")
        return None if data is None else data[: limit + 1]
