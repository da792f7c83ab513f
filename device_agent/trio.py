"""The agent under trio: its asyncio parts run in a thread of their own, behind this bridge.

async with AsyncioBridge() as bridge:
    agent = await bridge.enter(AsyncAgent.from_config())
    session = agent.session()
    reply = await bridge.call(session.respond, "Why is the sea salty?")
    async with bridge.within(session.stream("And why blue?")) as stream:
        async for event in bridge.iterate(stream):
            print(event.text)

Every method keeps the types of what it is given. trio itself is the app's to install.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import trio

from device_agent.portal import Portal

__all__ = ["AsyncioBridge"]

T = TypeVar("T")
P = ParamSpec("P")


class AsyncioBridge:
    """Owns the thread. What was entered is left, newest first, when the block ends.

    A cancellation here is one there, and is not done before the other side has cleaned up: after
    it no request is running, on the device or in the cloud.
    """

    def __init__(self) -> None:
        self._portal = Portal()
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> "AsyncioBridge":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._finish(self._entered.aclose())
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._portal.close)

    async def call(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """``await function(*args, **kwargs)``, there."""
        return await self._run(function(*args, **kwargs))

    async def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter it for as long as the bridge stands."""
        return await self._run(self._entered.enter_async_context(context))

    @asynccontextmanager
    async def within(self, context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Enter it for one block."""
        stack = AsyncExitStack()
        try:
            yield await self._run(stack.enter_async_context(context))
        finally:
            await self._finish(stack.aclose())

    async def iterate(self, source: AsyncIterator[T]) -> AsyncIterator[T]:
        """``async for`` over something of there. Its own context is its owner's to leave."""
        while (item := await self._run(_next(source))) is not None:
            yield item

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        token, ended = trio.lowlevel.current_trio_token(), trio.Event()
        running = self._portal.begin(work, lambda: token.run_sync_soon(ended.set))
        try:
            await ended.wait()
        except trio.Cancelled:
            running.cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()
            raise
        return running.result()

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Clean-up is not cut short."""
        with trio.CancelScope(shield=True):
            await self._run(work)


async def _next(source: AsyncIterator[T]) -> T | None:
    # StopAsyncIteration cannot travel through a task; no event is None.
    return await anext(source, None)
