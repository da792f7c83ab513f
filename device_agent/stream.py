"""One prompt's answer as it comes: an async iterator that belongs to its session."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self

from typing_extensions import TypeVar

from device_agent.compacting import made_to_fit
from device_agent.reply import Reply, TextEvent
from device_agent.rounds import Prompted, Rounds
from lanai.content import Content
from lanai.errors import DeadlineExceeded, UsageError
from router.decision import Decision

if TYPE_CHECKING:
    from device_agent.session import AsyncSession

__all__ = ["AsyncStream"]

T = TypeVar("T", default=Content)


class AsyncStream(Generic[T]):
    """Events with ``text`` while the answer comes; ``final`` once it is whole.

    Leaving the ``async with`` block early cancels the request, on the device and in the cloud.
    """

    def __init__(self, session: "AsyncSession", request: Prompted) -> None:
        self._session = session
        self._request = request
        self._rounds: Rounds | None = None
        self._events: AsyncGenerator[TextEvent, None] | None = None
        self._summarized = 0
        self._until: float | None = None

    def show_at_once(self) -> None:
        """Nobody looks before the end: the router may look at the whole answer first."""
        ask = replace(self._request.ask, unseen=True)
        self._request = replace(self._request, ask=ask)

    async def __aenter__(self) -> Self:
        if self._rounds is not None:
            raise UsageError("a stream is entered once")
        if self._request.timeout_s is not None:
            self._until = asyncio.get_running_loop().time() + self._request.timeout_s
        self._rounds = self._session._begin(self._request)
        if self._session.overflow == "summarize":
            await self._make_room()
        self._events = self._rounds.run()
        return self

    async def _make_room(self) -> None:
        """Tell what is oldest in short; the transcript changes with the answer, if one comes."""
        try:
            async with self._limit():
                ask, self._summarized = await made_to_fit(self._session, self._request.ask)
        except BaseException:
            self._session._end(None)
            raise
        if self._summarized:
            self._rounds = Rounds(self._session._runtime, replace(self._request, ask=ask))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._events is not None:
                await self._events.aclose()
        finally:
            self._session._end(self._rounds)

    def __aiter__(self) -> AsyncIterator[TextEvent]:
        return self

    async def __anext__(self) -> TextEvent:
        if self._events is None:
            raise UsageError("a stream is read inside its `async with` block")
        async with self._limit():
            return await anext(self._events)

    @asynccontextmanager
    async def _limit(self) -> AsyncIterator[None]:
        limit = asyncio.timeout_at(self._until)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded("the answer was not whole in timeout_s") from None

    @property
    def trace_id(self) -> str:
        """Of the request's trace, from the start of the ``async with`` block."""
        if self._rounds is None:
            raise UsageError("a stream has a trace inside its `async with` block")
        return self._rounds.trace_id

    @property
    def decision(self) -> Decision | None:
        """Where the answer comes from and why; it stands once the first piece has come."""
        return self._rounds.decision if self._rounds else None

    @property
    def final(self) -> Reply[T]:
        """The whole answer. Raises ``UsageError`` before it is there, or when it never came."""
        if self._rounds is None or self._rounds.reply is None:
            raise UsageError("there is no whole answer", hint="read the stream to its end first")
        return replace(self._rounds.reply, summarized=self._summarized)
