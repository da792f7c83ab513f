"""The loop of the engine's process: its owner, the workers at its door, and the scheduler.

    1  listen: to whoever has spoken; wait when nothing can run, and forget meanwhile
    2  run one unit of work and tell its caller
    3  let go of those that are gone, spoke nonsense or do not read, and wipe their requests

Callers share nothing: each has its own request ids, and an outcome goes to the caller it belongs
to. The process ends when its owner is gone, or has retired it and the last request is told.
"""

import selectors
import socket
from collections.abc import Callable
from typing import Final

from inference.caller import Caller
from inference.dialogue import Submission, outcome_message, parse_mask, parse_request
from inference.door import Door
from inference.engine import EngineInfo, Finished
from inference.scheduler import Outcomes, RequestFailed, Scheduler
from inference.wire import Message
from lanai.erasure import FreedMemory
from lanai.errors import EngineCrashed

__all__ = ["Serving"]

RECEIVE_BYTES: Final = 1 << 16
LINK_LIMIT: Final = 256
REQUEST_LIMIT: Final = 4
"""Live requests of one link; the owner has no limit."""

RETURN_S: Final = 1.0
"""Idle for so long, a node's engine has its freed memory wiped."""

Ready = Callable[[], None]
_GONE: Final = (EOFError, OSError, BufferError, EngineCrashed)


class Serving:
    """Serves ``owner`` and those who come through ``door``. Single-threaded.

    ``freed``, made before the model was loaded, is renewed in a quiet moment after requests. A
    device's engine has none: it holds its user's text anyway.
    """

    def __init__(
        self,
        owner: Caller,
        scheduler: Scheduler,
        info: EngineInfo,
        door: Door | None = None,
        *,
        freed: FreedMemory | None = None,
    ) -> None:
        self._owner = owner
        self._scheduler = scheduler
        self._info = info
        self._door = door
        self._freed = freed
        self._room = bytearray(RECEIVE_BYTES)
        self._callers = {owner.number: owner}
        self._arrived = owner.number
        self._lost: set[int] = set()
        self._retired = False
        self._stale = False
        """Whether freed memory may hold what was computed for a request."""
        self._selector = selectors.DefaultSelector()
        self._watch(owner)
        if door is not None:
            self._selector.register(door, selectors.EVENT_READ, self._admit)

    def run(self) -> None:
        """Return when retired and done. Raises what ends the owner: see ``Caller.receive``."""
        while not self._done():
            self._listen(wait=self._scheduler.idle)  # 1
            self._tell(self._scheduler.step())  # 2
            self._drop_lost()  # 3

    def _done(self) -> bool:
        """A link that came before ``retire`` and has not asked yet is still served."""
        links = [caller for caller in self._callers.values() if caller is not self._owner]
        return self._retired and not self._owner.live and all(link.finished for link in links)

    def _listen(self, *, wait: bool) -> None:
        heard = self._selector.select(self._patience() if wait else 0)
        if wait and not heard and self._freed:
            self._freed.renew()
            self._stale = False
        for key, _ in heard:
            ready: Ready = key.data
            ready()
        self._drop_lost()

    def _patience(self) -> float | None:
        """Seconds to wait for somebody; ``None``: for ever. After a request that is not long."""
        return RETURN_S if self._stale else None

    def _watch(self, caller: Caller) -> None:
        def ready() -> None:
            if caller.number not in self._lost:
                self._hear(caller)

        self._selector.register(caller, selectors.EVENT_READ, ready)

    def _admit(self) -> None:
        """Take in who stands at the door."""
        if self._door is None:
            return
        try:
            for end in self._door.arrivals():
                self._enter(end)
        except (EOFError, OSError):
            self._shut()

    def _enter(self, end: socket.socket) -> None:
        if len(self._callers) > LINK_LIMIT:
            end.close()
            return
        self._arrived += 1
        # A whole prompt, or a mask, and no more.
        limit = 4 * max(self._info.context_tokens, self._info.vocabulary // 32 + 1)
        caller = Caller(end, number=self._arrived, patient=False, blob_limit=limit)
        self._callers[caller.number] = caller
        self._watch(caller)

    def _shut(self) -> None:
        if self._door is not None:
            self._selector.unregister(self._door)
            self._door.close()
            self._door = None

    def _retire(self) -> None:
        """Those who were sent before still come in; then the door is shut."""
        self._admit()
        self._shut()
        self._retired = True

    def _hear(self, caller: Caller) -> None:
        try:
            caller.flush()
            self._watch_writing(caller)
            for message in caller.receive(self._room):
                self._obey(caller, message)
        except BlockingIOError:
            return
        except _GONE as error:
            self._lose(caller, error)

    def _obey(self, caller: Caller, message: Message) -> None:
        try:
            self._handle(caller, message)
        except EngineCrashed:
            message.wipe()
            raise

    def _handle(self, caller: Caller, message: Message) -> None:
        """Raises ``EngineCrashed`` for what this caller may not say."""
        match message.kind:
            case "submit":
                self._submit(caller, Submission.parse(message))
            case "mask":
                request, mask = parse_mask(message, self._info.vocabulary)
                self._scheduler.give_mask(caller.key(request), mask)
            case "cancel":
                self._tell(self._scheduler.cancel(caller.key(parse_request(message))))
            case "retire" if caller is self._owner:
                self._retire()
            case _:
                raise EngineCrashed("unexpected message to the engine")

    def _submit(self, caller: Caller, order: Submission) -> None:
        order.check(self._info)
        full = caller is not self._owner and len(caller.live) >= REQUEST_LIMIT
        if full or order.request_id in caller.live:
            raise EngineCrashed("a request too many")
        caller.live.add(order.request_id)
        caller.served = True
        self._stale = self._freed is not None
        self._scheduler.submit(
            caller.key(order.request_id),
            order.prompt,
            order.options,
            constrained=order.constrained,
            adapter=order.adapter,
        )

    def _tell(self, outcomes: Outcomes) -> None:
        """The generator is run to its end: it overwrites as it goes."""
        for key, outcome in outcomes:
            number, _, request = key.partition("/")
            caller = self._callers[int(number)]
            if isinstance(outcome, Finished | RequestFailed):
                caller.live.discard(request)
            self._send(caller, outcome_message(request, outcome))

    def _send(self, caller: Caller, message: Message) -> None:
        if caller.number in self._lost:
            return
        try:
            caller.send(message)
            self._watch_writing(caller)
        except _GONE as error:
            self._lose(caller, error)

    def _watch_writing(self, caller: Caller) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if caller.waiting else 0)
        key = self._selector.get_key(caller)
        if key.events != events:
            self._selector.modify(caller, events, key.data)

    def _lose(self, caller: Caller, error: Exception) -> None:
        if caller is self._owner:
            raise error
        self._lost.add(caller.number)

    def _drop_lost(self) -> None:
        """End and wipe the requests of callers that are gone; nobody hears of them."""
        while self._lost:
            caller = self._callers[next(iter(self._lost))]
            for request in tuple(caller.live):
                for _ in self._scheduler.cancel(caller.key(request)):
                    pass
            del self._callers[caller.number]
            self._lost.discard(caller.number)
            self._selector.unregister(caller)
            caller.close()
