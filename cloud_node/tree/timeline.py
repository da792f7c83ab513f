"""Where the time of one request went. It travels home inside the seal and is kept nowhere here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from protos.lanai.v1alpha import envelope_pb2

__all__ = ["Timeline"]

MICROSECONDS = 1_000_000


class Timeline:
    """Spans since the header came, by the names of ``lanai.telemetry.Span``."""

    def __init__(
        self, *, zero: float | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """``zero``: when the header came, by ``clock``, which all processes of a host share."""
        self._clock = clock
        self._zero = clock() if zero is None else zero
        self._spans: list[tuple[str, float, float]] = []

    def now(self) -> float:
        """Seconds since the header came."""
        return self._clock() - self._zero

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Record the block, also when it fails."""
        start = self.now()
        try:
            yield
        finally:
            self.add(name, start, self.now() - start)

    def add(self, name: str, start_s: float, duration_s: float) -> None:
        self._spans.append((name, start_s, duration_s))

    def timings(self) -> list[envelope_pb2.Timing]:
        """The spans as the last frame carries them."""
        return [
            envelope_pb2.Timing(
                name=name,
                start_us=round(max(start, 0.0) * MICROSECONDS),
                duration_us=round(max(duration, 0.0) * MICROSECONDS),
            )
            for name, start, duration in self._spans
        ]
