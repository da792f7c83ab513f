"""How many requests run at once. More wait in turn for a while, or are told to come again.

A place is held while a request runs, not while a tool does between two: a tool may ask the agent.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from lanai.errors import Busy, UsageError

__all__ = ["Places"]


class Places:
    """``most`` at once. Belongs to one event loop."""

    def __init__(self, most: int, *, wait_s: float = 0.0) -> None:
        self.taken = 0
        self.most = most
        self._closed = False
        self._wait_s = wait_s
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextmanager
    def now(self) -> Iterator[None]:
        """Raises ``Busy`` when all are taken, ``UsageError`` after ``close``."""
        self.require_open()
        if self.taken >= self.most:
            raise self._busy()
        self.taken += 1
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """The same after at most ``wait_s``, in the order of asking."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        """Nobody new gets a place; who has one keeps it."""
        self._closed = True

    def require_open(self) -> None:
        """Raises ``UsageError`` after ``close``."""
        if self._closed:
            raise UsageError(
                "this agent is closed", hint="ask inside its `async with` block, or make another"
            )

    async def _enter(self) -> None:
        self.require_open()
        if self.taken < self.most:
            self.taken += 1
            return
        if self._wait_s <= 0:
            raise self._busy()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn  # the place of the one that leaves
            self.require_open()
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave()  # it came in the very moment
            else:
                turn.cancel()
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1

    def _busy(self) -> Busy:
        return Busy(
            f"{self.most} requests are running already",
            limit=self.most,
            hint="come again, or raise max_concurrent_requests",
        )
