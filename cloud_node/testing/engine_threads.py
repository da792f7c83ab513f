"""An engine of this process behind a door, as workers know the engine's process."""

import asyncio
import queue
import socket
import threading
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.caller import Caller
from inference.dialogue import Submission, outcome_message, parse_mask, parse_request
from inference.door import Door
from inference.engine import Engine
from inference.scheduler import FailureCode, MaskNeeded, RequestFailed
from inference.wire import Message
from lanai.errors import EngineError, LanaiError

__all__ = ["EngineThreads"]

RECEIVE_BYTES = 1 << 16
JOIN_S = 10.0


class EngineThreads:
    """Serves each link that comes through ``end`` by a thread of its own; the engine runs in the
    event loop this was made in. When the engine crashes, its links end."""

    def __init__(self, engine: Engine, end: socket.socket) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._door = Door(end)
        self._threads: list[threading.Thread] = []
        self._loop.add_reader(self._door.fileno(), self._admit)

    async def close(self) -> None:
        """Let nobody new in; links end with their workers."""
        self._loop.remove_reader(self._door.fileno())
        self._door.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, JOIN_S)

    def _admit(self) -> None:
        try:
            for end in self._door.arrivals():
                thread = threading.Thread(target=self._serve, args=(end,), daemon=True)
                self._threads.append(thread)
                thread.start()
        except (EOFError, OSError):
            self._loop.remove_reader(self._door.fileno())

    def _serve(self, end: socket.socket) -> None:
        caller, room = Caller(end), bytearray(RECEIVE_BYTES)
        link = _Link(self._engine, self._loop, caller)
        try:
            with suppress(EOFError, OSError):
                while True:
                    for message in caller.receive(room):
                        link.hear(message)
        finally:
            link.end()
            caller.close()


class _Link:
    """One worker's requests, one after the other."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, caller: Caller) -> None:
        self._engine = engine
        self._loop = loop
        self._caller = caller
        self._masks: queue.SimpleQueue[NDArray[np.uint32] | None] = queue.SimpleQueue()
        self._running: Any = None

    def hear(self, message: Message) -> None:
        match message.kind:
            case "submit":
                order = Submission.parse(message)
                self._running = asyncio.run_coroutine_threadsafe(self._run(order), self._loop)
            case "mask":
                self._masks.put(parse_mask(message, self._engine.info.vocabulary)[1])
            case "cancel":
                parse_request(message)
                self.end()

    def end(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self, order: Submission) -> None:
        constraint = _Asked(self, order.request_id) if order.constrained else None
        ids = [int(number) for number in order.prompt]
        try:
            async with aclosing(
                self._engine.submit(ids, order.options, constraint=constraint)
            ) as events:
                async for event in events:
                    self.tell(order.request_id, event)
        except EngineError as error:
            if type(error) is EngineError:
                self.tell(order.request_id, RequestFailed(code=FailureCode.MODEL_FAILED))
            else:
                self._hang_up()
        except LanaiError:
            self._hang_up()

    def tell(self, request_id: str, outcome: Any) -> None:
        with suppress(OSError):
            self._caller.send(outcome_message(request_id, outcome))

    def ask_mask(self, request_id: str) -> NDArray[np.uint32] | None:
        self.tell(request_id, MaskNeeded())
        return self._masks.get(timeout=JOIN_S)

    def _hang_up(self) -> None:
        """As the end of the engine's process does."""
        # A second object over the same socket, which must not close it.
        end = socket.socket(fileno=self._caller.fileno())
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.detach()


class _Asked:
    """A ``Constraint`` whose masks come from the worker."""

    def __init__(self, link: _Link, request_id: str) -> None:
        self._link = link
        self._request_id = request_id

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        return self._link.ask_mask(self._request_id)
