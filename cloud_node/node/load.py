"""How much a node is doing, and whether it takes more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from lanai.errors import CloudRefused, RefusalCode

__all__ = ["Load"]


class Load:
    """Counts live requests. While a piece of the tree is missing, nothing is taken."""

    def __init__(self, *, max_live: int) -> None:
        self._max_live = max_live
        self._idle = asyncio.Event()
        self._idle.set()
        self.live = 0
        self.draining = False
        self.missing: set[str] = set()
        """Pieces that are being brought back."""

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Room for one request. Raises ``CloudRefused`` (``draining``, ``busy``)."""
        if self.draining:
            raise CloudRefused("draining", refusal=RefusalCode.DRAINING)
        if self.missing or self.live >= self._max_live:
            raise CloudRefused("busy", refusal=RefusalCode.BUSY)
        self.live += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.live -= 1
            if not self.live:
                self._idle.set()

    def drain(self) -> None:
        """Take nothing new from now on; what is live goes on."""
        self.draining = True

    async def idle(self, *, within_s: float) -> bool:
        """Wait until nothing is live; False when that took too long."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
