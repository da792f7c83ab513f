"""The whole node in one process: engine, text model, keys in service, and what keeps them fresh."""

import asyncio
from contextlib import suppress

from cloud_node.events import Event, Field
from cloud_node.node.engine_host import EngineHost
from cloud_node.node.epoch import Epoch, EpochPlan
from cloud_node.node.proof import ProofSource
from lanai.errors import CloudUnavailable, EngineCrashed

__all__ = ["Node"]


class Node:
    """Serves until told to stop; then drains.

    1. Open the first epoch: keys, evidence, proof, port, announcement.
    2. Refresh the proof every ``refresh_s``; without the log, the last proof ages on.
    3. At half of the keys' life open the next epoch; the old port lives until its bundle expires.
    4. On stop: take nothing new, say so, let live requests finish within ``drain_s``, leave.
    """

    def __init__(
        self,
        plan: EpochPlan,
        engine: EngineHost,
        log: ProofSource,
        *,
        refresh_s: float,
        drain_s: float,
    ) -> None:
        self._plan = plan
        self._shared = plan.shared
        self._engine = engine
        self._log = log
        self._refresh_s = refresh_s
        self._drain_s = drain_s
        self._current: Epoch | None = None
        self._retired: list[Epoch] = []

    @property
    def epoch(self) -> Epoch:
        if self._current is None:
            raise CloudUnavailable("the node is not started")
        return self._current

    async def start(self) -> None:
        # 1.
        self._current = await Epoch.open(self._plan)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set. ``EngineCrashed`` when the engine does not come back."""
        async with asyncio.TaskGroup() as tasks:
            # 2. and 3.
            upkeep = [tasks.create_task(self._keep_proof()), tasks.create_task(self._keep_keys())]
            broken = tasks.create_task(self._engine.broken.wait())
            stop = tasks.create_task(stopping.wait())
            await asyncio.wait((broken, stop), return_when=asyncio.FIRST_COMPLETED)
            for task in (*upkeep, broken, stop):
                task.cancel()
        if self._engine.broken.is_set():
            raise EngineCrashed("the engine does not come back")

    async def drain(self) -> None:
        # 4.
        self._shared.load.drain()
        self._shared.log.emit(Event.DRAINING, {Field.LIVE: self._shared.load.live})
        await self.epoch.announce()
        await self._shared.load.idle(within_s=self._drain_s)

    async def close(self) -> None:
        """Give everything up, in the order nobody is left waiting. Idempotent."""
        epochs = [*self._retired, *([self._current] if self._current else [])]
        for epoch in epochs:
            await epoch.close()
        await self._engine.close()
        await self._log.close()
        await self._shared.store.close()

    async def rotate(self) -> None:
        """Announce new keys; the old ones leave the roster and stay open for what was sealed."""
        successor = await Epoch.open(self._plan)
        retired, self._current = self.epoch, successor
        await retired.withdraw()
        self._retired.append(retired)
        self._shared.log.emit(Event.KEY_ROTATED)

    async def _keep_proof(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.epoch.refresh()
            except CloudUnavailable as error:
                self._shared.log.emit(Event.LOG_UNAVAILABLE, error=error)
            else:
                self._shared.log.emit(Event.BUNDLE_REFRESHED)

    async def _keep_keys(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self.epoch.keys.half_life - self._shared.clock()))
            with suppress(CloudUnavailable):  # without the log, try again; the old keys hold on
                await self.rotate()
            await self._close_expired()
            await asyncio.sleep(1.0)

    async def _close_expired(self) -> None:
        now = self._shared.clock()
        for epoch in [old for old in self._retired if old.keys.expires_at <= now]:
            self._retired.remove(epoch)
            await epoch.close()
