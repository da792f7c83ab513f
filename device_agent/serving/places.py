"""How many requests a server answers at once. No queue: who finds no place is told to come again.

The agent has places of its own (`device_agent.places`), with a queue; these come before it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from device_agent import places
from device_agent.serving.problems import Problem, Unacceptable
from lanai.errors import Busy

__all__ = ["Places"]


class Places:
    """``most`` at once. ``close`` when the server stops: what runs goes on, nothing begins."""

    def __init__(self, most: int) -> None:
        self._places = places.Places(most)
        self._closed = False

    @property
    def taken(self) -> int:
        return self._places.taken

    @contextmanager
    def take(self) -> Iterator[None]:
        """Raises ``Unacceptable``: 429 when all are taken, 503 when the server stops."""
        if self._closed:
            raise Unacceptable(_busy(503, "server_stopping", "the server is stopping"))
        with ExitStack() as held:
            try:
                held.enter_context(self._places.now())
            except Busy as error:
                raise Unacceptable(_busy(429, "too_many_requests", error.message)) from None
            yield

    def close(self) -> None:
        self._closed = True


def _busy(status: int, code: str, message: str) -> Problem:
    kind = "rate_limit_error" if status == 429 else "server_error"
    return Problem(status=status, type=kind, code=code, message=message, retry=True)
