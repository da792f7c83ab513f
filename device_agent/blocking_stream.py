"""The blocking twin of a stream: each piece is awaited in the agent's own thread."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self

from typing_extensions import TypeVar

from device_agent.portal import Portal
from device_agent.reply import Reply, TextEvent
from device_agent.stream import AsyncStream
from lanai.content import Content
from router.decision import Decision

__all__ = ["Stream"]

T = TypeVar("T", default=Content)


class Stream(Generic[T]):
    """Events with ``text``; ``final`` once the answer is whole. See ``AsyncStream``."""

    def __init__(self, stream: AsyncStream[T], portal: Portal) -> None:
        self._stream = stream
        self._portal = portal

    def __enter__(self) -> Self:
        self._portal.call(self._stream.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(self._stream.__aexit__(kind, error, traceback))

    def __iter__(self) -> Iterator[TextEvent]:
        return self

    def __next__(self) -> TextEvent:
        event = self._portal.call(_next(self._stream))
        if event is None:
            raise StopIteration
        return event

    @property
    def trace_id(self) -> str:
        """Of the request's trace."""
        return self._stream.trace_id

    @property
    def decision(self) -> Decision | None:
        """Where the answer comes from and why; it stands once the first piece has come."""
        return self._stream.decision

    @property
    def final(self) -> Reply[T]:
        """The whole answer. Raises ``UsageError`` when it is not there."""
        return self._stream.final


async def _next(stream: AsyncStream[Any]) -> TextEvent | None:
    # StopAsyncIteration cannot travel through a future.
    return await anext(stream, None)
