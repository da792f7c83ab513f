"""A bound on how many exchanges run at once, for the parties that only pass them on."""

from collections.abc import Iterator
from contextlib import contextmanager

from lanai.errors import CloudRefused, RefusalCode

__all__ = ["Admission"]


class Admission:
    """At most ``limit`` exchanges at a time; a node's `Load` also drains and watches its engine."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._live = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Room for one exchange. Raises ``CloudRefused`` (``busy``)."""
        if self._live >= self._limit:
            raise CloudRefused("too many exchanges", refusal=RefusalCode.BUSY)
        self._live += 1
        try:
            yield
        finally:
            self._live -= 1
