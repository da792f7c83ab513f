"""A sealed call that is opened before it is known to be needed.

It runs beside the device's draft, which the router still looks at. Taken over, its text is there
sooner; else it is cancelled, and counts as wasted: its token is spent, its disclosure stands in the
ledger, its money is counted.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import LanaiError

__all__ = ["Hedge"]

AHEAD = 256
"""Pieces that are kept while nobody takes them; the call waits after that."""


class Hedge:
    """Begins at once. ``pieces`` hands over what came and what comes; else ``cancel``."""

    def __init__(self, call: AsyncGenerator[Content | ToolCall, None]) -> None:
        self.taken = False
        self._queue: asyncio.Queue[Content | ToolCall | None] = asyncio.Queue(AHEAD)
        self._error: LanaiError | None = None
        self._task = asyncio.create_task(self._run(call))

    async def pieces(self) -> AsyncGenerator[Content | ToolCall, None]:
        """Raises what the call raised."""
        self.taken = True
        while (piece := await self._queue.get()) is not None:
            yield piece
        await self._task
        if self._error is not None:
            raise self._error

    async def cancel(self) -> None:
        """End the call if it runs. Idempotent."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self, call: AsyncGenerator[Content | ToolCall, None]) -> None:
        try:
            async with aclosing(call) as pieces:
                async for piece in pieces:
                    await self._queue.put(piece)
        except LanaiError as error:
            self._error = error
        await self._queue.put(None)
