"""A worker's end of its link to the engine: blocking, without threads or an event loop.

    link = EngineLink(end, info)
    link.submit(ids, options)
    while not any(isinstance(event, Finished) for event in link.events(None)): …

Made for a process forked from one that is warm: it owns one socket and imports no torch. A link has
one request at a time. Select on it beside other descriptors and call ``events(0)`` when it is
readable.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from inference.admission import check_mask, check_options, check_prompt
from inference.dialogue import Submission, cancel_message, mask_message, parse_outcome
from inference.engine import Constraint, EngineInfo, Event, Finished, GenerateOptions, Token
from inference.scheduler import MaskNeeded, Outcome, RequestFailed
from inference.stream import request_failure
from inference.wire import FrameReader, Message, encode
from lanai.errors import EngineCrashed, EngineError, UsageError

__all__ = ["EngineLink"]

RECEIVE_BYTES: Final = 1 << 16


class EngineLink:
    """Owns ``end``: a stream socket whose other end went through the engine's door."""

    def __init__(
        self,
        end: socket.socket,
        info: EngineInfo,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        end.setblocking(True)
        self._end = end
        self._info = info
        self._clock = clock
        self._reader = FrameReader()
        self._room = bytearray(RECEIVE_BYTES)
        self._number = 0
        self._live: str | None = None
        self._constraint: Constraint | None = None
        self._generated: list[int] = []

    def fileno(self) -> int:
        return self._end.fileno()

    @property
    def vocabulary(self) -> int:
        """Token ids of the engine: a constraint's masks cover them."""
        return self._info.vocabulary

    def submit(
        self,
        ids: Sequence[int],
        options: GenerateOptions,
        constraint: Constraint | None = None,
    ) -> None:
        """Start the link's request. Raises as ``Engine.submit`` does."""
        if self._live is not None:
            raise UsageError("a link has one request at a time")
        check_options(options)
        prompt = check_prompt(ids, options, self._info)
        self._number += 1
        self._live, self._constraint = str(self._number), constraint
        order = Submission(
            request_id=self._live,
            prompt=prompt,
            options=options,
            constrained=constraint is not None,
        )
        self._send(order.to_message())
        prompt.fill(0)

    def cancel(self) -> None:
        """End the request; its last event is then ``Finished``. Without a request: nothing."""
        if self._live is not None:
            self._send(cancel_message(self._live))

    def events(self, timeout_s: float | None) -> list[Event]:
        """What has happened since the last call, in order; masks are answered on the way.

        Waits for the first event up to ``timeout_s`` seconds, ``None``: for ever. Raises
        ``EngineCrashed`` when the engine is gone, ``EngineError`` when it failed the request, and
        whatever the constraint raises.
        """
        until = None if timeout_s is None else self._clock() + timeout_s
        while True:
            left = None if until is None else max(until - self._clock(), 0.0)
            if not self._readable(left):
                return []
            if events := self._receive():
                return events

    def close(self) -> None:
        """Let go of the engine, which then cancels and wipes. Idempotent."""
        self._generated.clear()
        self._room[:] = bytes(len(self._room))
        self._reader.wipe()
        self._end.close()

    def _readable(self, timeout_s: float | None) -> bool:
        poll = select.poll()  # select() knows no descriptors beyond 1,023
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def _receive(self) -> list[Event]:
        try:
            count = self._end.recv_into(self._room)
        except OSError:
            raise _gone() from None
        if not count:
            raise _gone()
        with memoryview(self._room)[:count] as data:
            outcomes = [parse_outcome(message) for message in self._reader.feed(data)]
        return [event for outcome in outcomes for event in self._take(*outcome)]

    def _take(self, number: str, outcome: Outcome) -> list[Event]:
        if number != self._live:
            return []  # of a request that ended with an error here
        match outcome:
            case RequestFailed(code=code):
                self._live = None
                raise request_failure(code)
            case MaskNeeded():
                self._answer_mask()
                return []
            case Finished():
                self._live, self._constraint = None, None
                self._generated.clear()
            case Token(id=token) if self._constraint is not None:
                self._generated.append(token)
        return [outcome]

    def _answer_mask(self) -> None:
        if self._live is None or self._constraint is None:
            raise EngineError("the engine asked for a mask that nobody promised")
        mask = check_mask(self._constraint.allowed(self._generated), self._info.vocabulary)
        self._send(mask_message(self._live, mask))

    def _send(self, message: Message) -> None:
        frame = encode(message)
        try:
            self._end.sendall(frame)
        except OSError:
            raise _gone() from None
        finally:
            frame[:] = bytes(len(frame))


def _gone() -> EngineCrashed:
    return EngineCrashed("the engine's process ended", hint="it is being replaced: ask again")
