"""Times of the steps before sending, for the device's own trace."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_agent.cloud.values import Timing

__all__ = ["Stopwatch"]


class Stopwatch:
    """Starts when made. ``clock_ns`` is any steady clock."""

    __slots__ = ("_clock_ns", "_start_ns", "_timings")

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock_ns = clock_ns
        self._start_ns = clock_ns()
        self._timings: list[Timing] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Record the block under ``name``, also when it raises."""
        begun = self._clock_ns()
        try:
            yield
        finally:
            self._timings.append(
                Timing(
                    name=name,
                    start_us=(begun - self._start_ns) // 1000,
                    duration_us=(self._clock_ns() - begun) // 1000,
                )
            )

    @property
    def timings(self) -> tuple[Timing, ...]:
        return tuple(self._timings)
