"""An engine in a child process of its own: a crash, a leak or a lock stays over there.

The child is ``python -m inference.child`` with one end of a socket pair and nothing else: no shared
memory, no pickle, and the app's own ``__main__`` is never run again. The parent imports no torch.

An engine belongs to the event loop that started it: call it from there only, and close it there.
One that has crashed stays crashed; start another. A parent that forks without exec must start its
engines afterwards: a fork would hold the parent's end open.
"""

import asyncio
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.channel import Channel
from inference.dialogue import (
    LoadOrder,
    Submission,
    cancel_message,
    mask_message,
    parse_info,
    parse_load_failure,
    parse_outcome,
    retire_message,
)
from inference.engine import Constraint, EngineInfo, GenerateOptions
from inference.requests import LiveRequests
from inference.spawn import load_error, spawn_child
from inference.stream import RequestStream
from inference.wire import Message
from lanai.errors import EngineClosed, EngineCrashed

__all__ = ["ProcessEngine"]

START_TIMEOUT_S: Final = 300.0
END_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.005


class ProcessEngine:
    """Implements ``inference.engine.Engine``. Made by ``start``; ended by ``close``."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[EngineInfo] = self._loop.create_future()
        self._channel: Channel | None = None
        self._requests = LiveRequests(_Child(self._send))
        self._closing: asyncio.Task[None] | None = None
        self._retired = False

    @classmethod
    async def start(
        cls,
        model: Path,
        *,
        context_tokens: int,
        threads: int,
        weights_sha256: str = "",
        adapters: Path | None = None,
        draft: Path | None = None,
        timeout_s: float = START_TIMEOUT_S,
        door: socket.socket | None = None,
        environment: Mapping[str, str] | None = None,
        processors: Collection[int] = (),
    ) -> "ProcessEngine":
        """Start a child that holds ``model``; return when it can serve.

        Workers reach the child through ``door``, see ``inference.door``; it stays the caller's to
        close. ``adapters``: the folder of those a request may name. ``draft``: a smaller model of
        the same tokens, which guesses for requests that speculate; an engine with a door has none.
        ``environment`` is all that the child gets; ``None``: a copy of our own. ``processors``:
        those it may run on; none given: those that we may.

        1  spawn, with one end of a socket pair
        2  order the model
        3  wait for ``ready``

        Raises what the model deserves (``ModelNotFound``, ``ModelFormatError``,
        ``UnsupportedModel``), ``ConfigError`` for a context the model does not have or a draft
        model that does not go with it, or ``EngineCrashed`` when the child ends or is not ready
        within ``timeout_s``.
        """
        order = LoadOrder(
            model=model,
            context_tokens=context_tokens,
            threads=threads,
            weights_sha256=weights_sha256,
            adapters=adapters,
            draft=draft,
        )
        ours, theirs = socket.socketpair()
        with theirs:
            process = spawn_child(  # 1
                theirs, threads, door=door, environment=environment, processors=processors
            )
        engine = cls(process)
        try:
            await engine._meet(ours, order, timeout_s)
        except BaseException:
            ours.close()
            await engine.close()
            raise
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._ready.result()

    @property
    def alive(self) -> bool:
        """Whether a request could be submitted now."""
        open_ = self._closing is None and not self._retired
        return open_ and self._channel is not None and not self._channel.ended

    @property
    def pid(self) -> int:
        """The child's process id, for those who account for memory."""
        return self._process.pid

    def submit(
        self,
        ids: Sequence[int],
        options: GenerateOptions,
        *,
        request_id: str | None = None,
        adapter: str | None = None,
        constraint: Constraint | None = None,
    ) -> RequestStream:
        """See ``Engine.submit``. The request starts now, not at the first ``__anext__``."""
        self._require_alive()
        return self._requests.submit(
            ids,
            options,
            self.info,
            request_id=request_id,
            adapter=adapter,
            constraint=constraint,
        )

    async def cancel(self, request_id: str) -> None:
        """End one request; its stream ends with ``Finished(CANCELLED)``."""
        self._requests.cancel(request_id)

    async def retire(self) -> None:
        """Take in nobody new; the child ends with its last request. Idempotent.

        Links that stand at the door are still served, so hand out another door first. Requests
        here run to their end, and nothing new can be submitted. ``ended`` waits for the end.
        """
        if self.alive and not self._retired:
            self._retired = True
            self._send(retire_message())

    async def ended(self) -> int:
        """Wait until the child has ended, for whatever reason; its exit code as ``Popen`` says."""
        if self._channel is not None:
            await self._channel.lost.wait()
        return await self._reap()

    async def close(self) -> None:
        """End the child. Idempotent; live requests end with ``EngineClosed``."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        """Requests, socket, process: gone afterwards, in this order."""
        self._ready.cancel()  # no effect once it is decided
        self._requests.fail_all(EngineClosed("the engine was closed"))
        if self._channel is not None:
            self._channel.close()
            await self._channel.lost.wait()
        # Its memory goes back to the system with it: there is nothing to wait for politely.
        self._process.terminate()
        await self._reap()

    async def _reap(self) -> int:
        """The exit code of a child that is about to end."""
        deadline = self._loop.time() + END_TIMEOUT_S
        while (code := self._process.poll()) is None:
            if self._loop.time() > deadline:
                self._process.kill()
            await asyncio.sleep(POLL_S)
        return code

    async def _meet(self, ours: socket.socket, order: LoadOrder, timeout_s: float) -> None:
        self._channel = await Channel.open(ours, self._on_message, self._on_lost)
        self._channel.send(order.to_message())  # 2
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._ready)  # 3
        except TimeoutError:
            raise EngineCrashed(f"the engine was not ready within {timeout_s:g} s") from None

    def _require_alive(self) -> None:
        if self._closing is not None or self._retired:
            raise EngineClosed("the engine is closed", hint="start another")
        if not self.alive:
            raise EngineCrashed("the engine's process has ended", hint="start another")

    def _send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _on_message(self, message: Message) -> None:
        if self._ready.done():
            self._requests.deliver(*parse_outcome(message))
        elif message.kind == "unloadable":
            self._ready.set_exception(load_error(parse_load_failure(message)))
        else:
            self._ready.set_result(parse_info(message))

    def _on_lost(self) -> None:
        """The child is gone, or about to be. ``close`` waits for it."""
        crash = EngineCrashed("the engine's process ended", hint="start another")
        if not self._ready.done():
            self._ready.set_exception(crash)
        self._requests.fail_all(crash)


class _Child:
    """A ``Backend``: the process at the other end of the channel."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def begin(self, submission: Submission) -> None:
        self._send(submission.to_message())

    def give_mask(self, number: str, mask: NDArray[np.uint32] | None) -> None:
        self._send(mask_message(number, mask))

    def end(self, number: str) -> None:
        self._send(cancel_message(number))
