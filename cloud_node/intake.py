"""Frames of one caller, read one at a time by whoever needs the next.

A refusal sent while the caller still writes can be lost: grpcio's asyncio client then reports its
own failed write instead of the status it was sent (grpc/grpc issue 36066). So a server takes in
what is still on its way, within bounds, before it refuses.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, Generic, TypeVar

__all__ = ["Intake"]

DRAIN_FRAMES: Final = 64
DRAIN_S: Final = 2.0

F = TypeVar("F")


class Intake(Generic[F]):
    """The request side of a stream. Safe to read from two tasks: each frame goes to one."""

    def __init__(self, frames: AsyncIterator[F]) -> None:
        self._frames = aiter(frames)
        self._reading = asyncio.Lock()
        self._ended = False

    async def next(self) -> F | None:
        """The next frame; None when the caller has sent its last."""
        async with self._reading:
            if not self._ended:
                with suppress(StopAsyncIteration):
                    return await anext(self._frames)
                self._ended = True
        return None

    async def drain(self) -> None:
        """Drop what the caller still sends, a bounded number of frames for a bounded time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                for _ in range(DRAIN_FRAMES):
                    if await self.next() is None:
                        return
