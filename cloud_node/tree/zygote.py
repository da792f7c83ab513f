"""The zygote: warm, single-threaded, without content. It has a worker ready for each request.

What it is handed it does not read: the request's socket holds sealed chunks, the pipe the
keyholder's secret. A worker is forked and confined before its request comes, waits at a door of
its own, takes one request through it and ends with it. So the fork is not in the request's time.
"""

import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, Protocol

from cloud_node.tree.doors import Door, Message, close_all
from cloud_node.tree.request_socket import refuse
from inference.dialogue import info_message
from inference.engine import EngineInfo
from lanai.errors import RefusalCode

__all__ = ["Nursery", "Zygote"]


class Nursery(Protocol):
    """Where workers come from."""

    def send_out(self, message: Message, descriptors: Sequence[int]) -> None:
        """Have a worker of its own take one request. The descriptors stay the caller's to close.

        Raises ``OSError`` when no worker can be had.
        """

    @property
    def full(self) -> bool:
        """As many workers wait as may."""

    def fill(self) -> None:
        """Have them wait. Raises ``OSError``."""

    def close(self) -> None:
        """Send the workers home that have no request."""


class Zygote:
    """``nursery`` forks but in tests. The engine comes by ``connect``."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._engine: Door | None = None
        self._info: dict[str, Any] = {}

    def connect(self, engine: Door, info: EngineInfo) -> None:
        """Send new requests to this engine. Those that run go on with the one they have."""
        self._leave_engine()
        self._engine, self._info = engine, info_message(info).fields

    @property
    def prepared(self) -> bool:
        """Nothing is to be done before the next request."""
        return self._nursery.full

    def prepare(self) -> None:
        """In a quiet moment. No room for workers is no error: the next request tries again."""
        with suppress(OSError):
            self._nursery.fill()

    def close(self) -> None:
        """Take nothing more."""
        self._leave_engine()
        self._nursery.close()

    def take(self, message: Message, descriptors: list[int]) -> None:
        """One request: its socket and its secret's pipe. Refused on the socket, never raised."""
        with ExitStack() as held:
            held.callback(close_all, descriptors)
            if len(descriptors) != 2:
                return
            try:
                with self._link() as link:
                    self._nursery.send_out(
                        {**message, "engine": self._info}, (*descriptors, link.fileno())
                    )
            except OSError:
                with socket.socket(fileno=descriptors.pop(0)) as request:
                    refuse(request, RefusalCode.BUSY)

    def _link(self) -> socket.socket:
        """A worker's end of a new connection to the engine. Raises ``OSError``."""
        if self._engine is None:
            raise ConnectionError
        ours, theirs = socket.socketpair()
        with theirs:
            self._engine.offer(theirs.fileno())
        return ours

    def _leave_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
