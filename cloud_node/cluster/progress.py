"""Says how far `up` is, and how long each step took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Progress"]


class Progress:
    """Named steps, some side by side. ``say`` gets one line when a step ends."""

    def __init__(
        self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._began = clock()
        self.seconds: dict[str, float] = {}
        """How long each finished step took, in the order they ended."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step; a line when it is done, none when it fails (the error says which)."""
        began = self._clock()
        yield
        took = self._clock() - began
        self.seconds[name] = round(took, 3)
        self._say(f"{name:<16}{took:6.1f} s   (at {self._clock() - self._began:.1f} s)")

    @property
    def total(self) -> float:
        """Seconds since the first step could begin."""
        return self._clock() - self._began
