"""The node's process tree as its launcher sees it: started, reported on, drained, ended."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from lanai.errors import CloudUnavailable

__all__ = ["NodeProcess", "NodeState"]

SILENCE_S = 5.0
"""A node that reports nothing for this long is unresponsive (it reports twice a second)."""


class NodeState(StrEnum):
    """What a launcher says of its node."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    UNRESPONSIVE = "unresponsive"
    DIED = "died"
    """It ended without being asked to."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Ready(_Line):
    ready: bool
    address: str
    node_id: str


class _Beat(_Line):
    live: int
    draining: bool
    engine: bool


class NodeProcess:
    """One run of the node. A new run is a new object."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._heard = clock()
        self._stopping = False
        self._draining = False
        self.live = 0
        self.address: str | None = None
        self.node_id: str | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    @property
    def state(self) -> NodeState:
        if self._process is None:
            return NodeState.STOPPED
        if self._process.returncode is not None:
            return NodeState.STOPPED if self._stopping else NodeState.DIED
        if self._stopping:
            return NodeState.STOPPING
        if self.address is None:
            return NodeState.STARTING
        if self._clock() - self._heard > SILENCE_S:
            return NodeState.UNRESPONSIVE
        return NodeState.DRAINING if self._draining else NodeState.RUNNING

    async def start(self, config: Path, *, log: Path | None, within_s: float) -> None:
        """Start the node and wait until it is ready. Raises ``CloudUnavailable``.

        ``log`` is what its events are appended to; ``None`` is our own standard error.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as files:
            files.enter_context(theirs)
            errors = files.enter_context(_append(log)) if log else None
            self._process = await asyncio.create_subprocess_exec(
                *_command(config, control=theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                pass_fds=(theirs.fileno(),),
                # Its own process group, so that the whole tree can be killed by one signal.
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        try:
            async with asyncio.timeout(within_s):
                await self._await_ready(self._process)
        except (TimeoutError, ValidationError):
            await self.stop(within_s=0)
            raise CloudUnavailable(
                "the node did not become ready", hint="its log says which step failed"
            ) from None
        self._heard = self._clock()
        self._listening = asyncio.create_task(self._listen(reader))

    def drain(self) -> None:
        """Tell the node to take nothing new. It goes on with what it has."""
        self._draining = True
        if self._writer is not None:
            self._writer.write(b"drain\n")

    async def stop(self, *, within_s: float) -> None:
        """SIGTERM, after ``within_s`` SIGKILL to the whole tree. Idempotent."""
        if self._process is None:
            return
        self._stopping = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._process.wait()
        self.kill()
        await self._process.wait()
        await self._close_wire()

    def kill(self) -> None:
        """SIGKILL to the node's process group, whether or not its first process still lives."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _await_ready(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            ready = _Ready.model_validate_json(await process.stdout.readline())
            self.address, self.node_id = ready.address, ready.node_id

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                beat = _Beat.model_validate_json(line)
                self._heard, self.live = self._clock(), beat.live
                self._draining = self._draining or beat.draining
        self.live = 0

    async def _close_wire(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        if self._writer is not None:
            self._writer.close()


def _command(config: Path, *, control: int) -> list[str]:
    arguments = ["--config", str(config), "--parent", str(os.getpid()), "--control", str(control)]
    # -P: the working folder must not be a place to import code from.
    return [sys.executable, "-P", "-m", "cloud_node.node", *arguments]


def _append(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
