"""How many requests run at once. No queue: who finds no place is told to come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from device_agent.serving.problems import Problem, Unacceptable

__all__ = ["Places"]


class Places:
    """``most`` at once. ``close`` when the server stops: what runs goes on, nothing begins."""

    def __init__(self, most: int) -> None:
        self.taken = 0
        self._most = most
        self._closed = False

    @contextmanager
    def take(self) -> Iterator[None]:
        """Raises ``Unacceptable``: 429 when all are taken, 503 when the server stops."""
        if self._closed:
            raise Unacceptable(_busy(503, "server_stopping", "the server is stopping"))
        if self.taken >= self._most:
            raise Unacceptable(
                _busy(429, "too_many_requests", f"{self._most} requests are running already")
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    def close(self) -> None:
        self._closed = True


def _busy(status: int, code: str, message: str) -> Problem:
    kind = "rate_limit_error" if status == 429 else "server_error"
    return Problem(status=status, type=kind, code=code, message=message, retry=True)
