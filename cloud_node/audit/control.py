"""The positive control: a live worker and a live engine, in which the scanner must find marks.

Without it a count of nothing proves nothing. While the engines stand still (SIGSTOP), a long
marked request is sent: its worker has opened it, has handed its ids on and waits. The worker is
searched. Then the engines run for milliseconds at a time and are searched in between, until ids
show: they are overwritten once the prompt is in the cache. Other requests wait for some seconds.

A worker that is to be killed is known by the mark in its memory, so that nobody else's is.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from cloud_node.audit.device import Ended, MarkedDevice, Sent
from cloud_node.audit.findings import Findings
from cloud_node.audit.memory import ProcessEnded, search_memory
from cloud_node.audit.processes import ClusterProcess, runs
from cloud_node.audit.requests import Kind, RequestMaker
from cloud_node.audit.search import Searcher
from cloud_node.audit.surfaces import Ground
from lanai.errors import AuditError

__all__ = ["Control", "Stage"]

TRIES: Final = 4
STEPS: Final = 12
STEP_S: Final = 0.002
APPEAR_S: Final = 30.0
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Hits in live memory: text in the worker, ids in the engine."""

    worker: int
    engine: int

    @property
    def holds(self) -> bool:
        """Whether the scanner finds what is there."""
        return self.worker > 0 and self.engine > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the control is played."""

    device: MarkedDevice
    maker: RequestMaker
    ground: Ground
    searcher: Searcher

    async def control(self) -> Control:
        """Search a worker and the engines while they serve a marked request."""
        worker = engine = 0
        for _ in range(TRIES):
            async with self._held(Kind.HELD) as (sent, found):
                worker = max(worker, found[1].hits if found else 0)
                engine = await self._step_engines(sent)
            await sent.ended
            if worker and engine:
                break
        return Control(worker=worker, engine=engine)

    async def kill_worker(self) -> Ended | None:
        """Kill (SIGKILL) a marked request's worker; how the device saw it end. None: no worker."""
        async with self._held(Kind.KILLED) as (sent, found):
            if found is not None:
                _signal(found[0], signal.SIGKILL)
        ended = await sent.ended
        return None if found is None else ended

    @asynccontextmanager
    async def _held(
        self, kind: Kind
    ) -> AsyncIterator[tuple[Sent, tuple[ClusterProcess, Findings] | None]]:
        """A request on its way while all engines stand still, and its worker; then let go."""
        with _stopped(self._of_role("engine")):
            sent = self.device.send(self.maker.make(kind))
            try:
                yield sent, await self._worker_of(sent, kind)
            finally:
                if kind is not Kind.KILLED:
                    self.device.leave(sent)

    async def _worker_of(self, sent: Sent, kind: Kind) -> tuple[ClusterProcess, Findings] | None:
        """The worker whose memory holds this kind's mark; None when none appears in time."""
        deadline = time.monotonic() + APPEAR_S
        while time.monotonic() < deadline and not sent.ended.done():
            for worker in self._of_role("worker"):
                found = await asyncio.to_thread(self._search, worker)
                if any(label.startswith(f"{kind}, ") for label in found.labels):
                    return worker, found
            await asyncio.sleep(POLL_S)
        return None

    async def _step_engines(self, sent: Sent) -> int:
        """Let the engines run a little and stand still again, until one shows ids."""
        engines = self._of_role("engine")
        for _ in range(STEPS):
            for engine in engines:
                _signal(engine, signal.SIGCONT)
            await asyncio.sleep(STEP_S)
            for engine in engines:
                _signal(engine, signal.SIGSTOP)
            found = [await asyncio.to_thread(self._search, engine) for engine in engines]
            hits = sum(each.hits for each in found)
            if hits or sent.began.is_set():
                return hits
        return 0

    def _search(self, process: ClusterProcess) -> Findings:
        found = Findings()
        with suppress(ProcessEnded):
            search_memory(process.pid, self.searcher, found, since=self.ground.since)
        return found

    def _of_role(self, role: str) -> list[ClusterProcess]:
        return [process for process in self.ground.processes() if process.role == role]


@contextmanager
def _stopped(processes: Sequence[ClusterProcess]) -> Iterator[None]:
    """Have ``processes`` stand still for as long as the block lasts."""
    try:
        for process in processes:
            _signal(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            _signal(process, signal.SIGCONT)


def _signal(process: ClusterProcess, number: signal.Signals) -> None:
    """A pid that was given to another process is left alone. Raises ``AuditError``."""
    if not runs(process):
        return
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise AuditError("a process cannot be stopped", hint="run as root") from None
