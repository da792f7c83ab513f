"""A node as its front runs it: keys in service, what keeps them fresh, and how it leaves."""

import asyncio
from contextlib import suppress

from cloud_node.events import Event, Field
from cloud_node.node.epoch import Epoch, EpochPlan
from cloud_node.node.proof import ProofSource
from lanai.errors import CloudUnavailable

__all__ = ["Node"]

KEYS = "keys"
RETRY_S = 0.2


class Node:
    """Serves until told to stop; then drains.

    1. Open the first epoch: keys, evidence, proof, port, announcement.
    2. Refresh the proof every ``refresh_s``; without the log, the last proof ages on.
    3. At half of the keys' life open the next epoch; the old port lives until its bundle expires.
    4. When the keyholder is gone, so are all keys: take nothing until a new one gave new ones.
    5. On stop: take nothing new, say so, let live requests finish within ``drain_s``, leave.
    """

    def __init__(
        self, plan: EpochPlan, log: ProofSource, *, refresh_s: float, drain_s: float
    ) -> None:
        self._plan = plan
        self._shared = plan.shared
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
        await self._shared.store.connect()
        self._current = await Epoch.open(self._plan)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set."""
        async with asyncio.TaskGroup() as tasks:
            # 2. to 4.
            upkeep = [tasks.create_task(self._keep_proof()), tasks.create_task(self._keep_keys())]
            await stopping.wait()
            for task in upkeep:
                task.cancel()

    async def drain(self) -> None:
        # 5.
        self._shared.load.drain()
        self._shared.log.emit(Event.DRAINING, {Field.LIVE: self._shared.load.live})
        await self.epoch.announce()
        await self._shared.load.idle(within_s=self._drain_s)

    async def close(self) -> None:
        """Give everything up, in the order nobody is left waiting. Idempotent."""
        epochs = [*self._retired, *([self._current] if self._current else [])]
        for epoch in epochs:
            await epoch.close()
        self._shared.keyholding.close()
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
            lost = await self._keys_lost(
                within_s=max(0.0, self.epoch.keys.half_life - self._shared.clock())
            )
            if lost:
                self._shared.load.missing.add(KEYS)
            try:
                await self.rotate()
            except CloudUnavailable:  # try again; keys that are not lost hold on
                await asyncio.sleep(RETRY_S if lost else 1.0)
                continue
            self._shared.load.missing.discard(KEYS)
            await (self._close_retired(self._retired) if lost else self._close_expired())

    async def _keys_lost(self, *, within_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.epoch.keys_lost()
                return True
        return False

    async def _close_expired(self) -> None:
        now = self._shared.clock()
        await self._close_retired([old for old in self._retired if old.keys.expires_at <= now])

    async def _close_retired(self, epochs: list[Epoch]) -> None:
        for epoch in list(epochs):
            self._retired.remove(epoch)
            await epoch.close()
