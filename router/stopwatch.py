"""The router's own time, without the waiting between stages."""

from collections.abc import Callable
from types import TracebackType

__all__ = ["Clock", "Stopwatch"]

Clock = Callable[[], int]
"""Nanoseconds that never run backwards, as ``time.perf_counter_ns``."""


class Stopwatch:
    """Runs inside its ``with`` blocks and adds them up."""

    __slots__ = ("_clock", "_since", "_spent")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent = 0
        self._since: int | None = None

    def __enter__(self) -> "Stopwatch":
        self._since = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spent, self._since = self._total(), None

    @property
    def us(self) -> float:
        """Microseconds so far, the running block included."""
        return self._total() / 1000

    def _total(self) -> int:
        running = 0 if self._since is None else self._clock() - self._since
        return self._spent + max(running, 0)
