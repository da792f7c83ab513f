"""One request as its caller sees it: events in order, masks answered on the way, closable."""

import asyncio
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from inference.adapters.faults import fault_error
from inference.admission import check_mask
from inference.engine import Constraint, Event, Finished, Token
from inference.scheduler import FailureCode, MaskNeeded, Outcome, RequestFailed
from lanai.errors import AdapterFault, EngineError, LanaiError

__all__ = ["Inbox", "RequestHandle", "RequestStream", "request_failure"]

Inbox = asyncio.Queue[Outcome | LanaiError | None]
"""What happened to one request, in order. ``None``: closed by its caller."""

FAILURES: Final = {
    FailureCode.NO_MEMORY: ("no memory for the request's cache", "lower max_tokens, or retry"),
    FailureCode.MODEL_FAILED: ("the model failed on this request", "`lanai models show` its facts"),
}


def request_failure(code: FailureCode | AdapterFault) -> LanaiError:
    """The error that a request's failure is to its caller."""
    if isinstance(code, AdapterFault):
        return fault_error(code)
    message, hint = FAILURES[code]
    return EngineError(message, hint=hint)


class RequestHandle(Protocol):
    """What a stream may do to its own request."""

    def give_mask(self, mask: NDArray[np.uint32] | None) -> None: ...

    def end(self) -> None:
        """Free the request in the engine. Called from the event loop. Idempotent."""

    def abandon(self) -> None:
        """``end``, from any thread: the stream was dropped without being closed."""


class RequestStream:
    """An ``EventStream``. The constraint is asked here, in the caller's own task."""

    def __init__(
        self,
        inbox: Inbox,
        handle: RequestHandle,
        *,
        vocabulary: int,
        constraint: Constraint | None,
    ) -> None:
        self._inbox = inbox
        self._handle = handle
        self._vocabulary = vocabulary
        self._constraint = constraint
        self._generated: list[int] = []
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ended:
            match await self._inbox.get():
                case None:
                    break
                case LanaiError() as error:
                    self._ended = True
                    raise error
                case RequestFailed(code=code):
                    self._ended = True
                    raise request_failure(code)
                case MaskNeeded():
                    await self._answer_mask()
                case Finished() as event:
                    self._ended = True
                    return event
                case event:
                    self._record(event)
                    return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._handle.end()
            self._inbox.put_nowait(None)  # wakes a task that waits in __anext__
        self._generated.clear()

    def __del__(self) -> None:
        if not self._ended:
            self._handle.abandon()

    async def _answer_mask(self) -> None:
        if self._constraint is None:
            raise EngineError("the engine asked for a mask that nobody promised")
        try:
            mask = check_mask(self._constraint.allowed(self._generated), self._vocabulary)
        except BaseException:
            await self.aclose()
            raise
        self._handle.give_mask(mask)

    def _record(self, event: Event) -> None:
        if self._constraint is not None and isinstance(event, Token):
            self._generated.append(event.id)
