"""Keeps one engine alive for the node: a crash fails the requests it had, and only those."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress

from cloud_node.events import Event as Happened
from cloud_node.events import EventLog, Field
from cloud_node.node.load import Load
from inference.engine import Engine, Event, GenerateOptions
from lanai.errors import EngineCrashed, LanaiError

__all__ = ["EngineHost", "StartEngine"]

StartEngine = Callable[[], Awaitable[Engine]]
ATTEMPTS = 5
BACKOFF_S = 0.2


class EngineHost:
    """``broken`` is set when the engine does not come back: the node should end then."""

    def __init__(self, start: StartEngine, load: Load, log: EventLog) -> None:
        self._start = start
        self._load = load
        self._log = log
        self._engine: Engine | None = None
        self._replacing: asyncio.Task[None] | None = None
        self.broken = asyncio.Event()

    async def start(self) -> None:
        """Start the engine. Raises what its start raises."""
        self._engine = await self._start()
        self._load.engine_ready = True
        self._log.emit(Happened.ENGINE_STARTED)

    async def submit(
        self, ids: Sequence[int], options: GenerateOptions
    ) -> AsyncGenerator[Event, None]:
        """Events of one request; closing it cancels. Raises ``EngineCrashed``."""
        engine = self._engine
        if engine is None:
            raise EngineCrashed("the engine is being replaced")
        try:
            async with aclosing(engine.submit(ids, options)) as events:
                async for event in events:
                    yield event
        except EngineCrashed:
            self._replace(engine)
            raise

    async def close(self) -> None:
        """End the engine and any attempt to replace it."""
        if self._replacing is not None:
            self._replacing.cancel()
            with suppress(asyncio.CancelledError):
                await self._replacing
        if self._engine is not None:
            await self._engine.close()

    def _replace(self, crashed: Engine) -> None:
        if self._engine is not crashed:  # another request of the same crash was first
            return
        self._engine = None
        self._load.engine_ready = False
        self._log.emit(Happened.ENGINE_CRASHED)
        self._replacing = asyncio.create_task(self._bring_back(crashed))

    async def _bring_back(self, crashed: Engine) -> None:
        with suppress(LanaiError):
            await crashed.close()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self.start()
            except LanaiError as error:
                self._log.emit(Happened.FAILED, {Field.ATTEMPT: attempt}, error=error)
                await asyncio.sleep(BACKOFF_S * 2**attempt)
            else:
                return
        self.broken.set()
