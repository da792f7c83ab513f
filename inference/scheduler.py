"""Which request runs next: plain Python; no process, no torch, the clock is a parameter.

Requests take turns, one unit each: a piece of the prompt (so that a long prompt holds nobody up) or
one token of the answer. When it is an answer's turn, all answers that can grow step together, as
rows of one pass; they join and leave between steps. A request whose output is constrained asks its
caller for a mask after each token and is passed over until the mask comes. At most ``live_limit``
requests hold a cache; the others queue in order of arrival. When a request ends, for whatever
reason, its cache and its prompt are overwritten in the same call.

Nothing is kept from one request for another: the same prompt costs the same passes every time.

With ``speculation``, a request that asked for it and is alone has its next tokens guessed, see
``inference.speculation``, by a smaller model too where one is given: each is still drawn from its
own prediction, in order, with the same random numbers. A node does without: the pace of a stream
would tell how much of it is copied.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.drafting import DraftModel
from inference.engine import (
    Event,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Token,
    TokenStatistics,
)
from inference.runner import Prediction, RewindingSlot, Runner, Slot
from inference.sampling import Sampler, statistics
from inference.speculation import Speculation
from lanai.errors import AdapterError, AdapterFault, EngineError, LanaiError

__all__ = [
    "FailureCode",
    "MaskNeeded",
    "Outcome",
    "RequestFailed",
    "Scheduler",
]

PREFILL_PIECE: Final = 256
LIVE_LIMIT: Final = 16


class FailureCode(StrEnum):
    """Why one request failed: the only words about it that leave the child."""

    NO_MEMORY = "no_memory"
    MODEL_FAILED = "model_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskNeeded:
    """The caller must give the bitmask of the next token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """The request ended without an answer; the others go on."""

    code: FailureCode | AdapterFault


Outcome = Event | MaskNeeded | RequestFailed
Outcomes = Iterator[tuple[str, Outcome]]


class Phase(StrEnum):
    QUEUED = "queued"
    PREFILL = "prefill"
    FORWARD = "forward"
    """The last token is not in the cache yet."""
    DRAW = "draw"
    """The prediction is there; the next token is not drawn yet."""
    ENDED = "ended"


@dataclass(slots=True, kw_only=True, repr=False)
class Request:
    """A request's state. No ``repr``: it holds ids."""

    prompt: NDArray[np.int32]
    options: GenerateOptions
    constrained: bool
    arrived: float
    sampler: Sampler
    adapter: str | None = None
    phase: Phase = Phase.QUEUED
    slot: Slot | None = None
    rewinding: RewindingSlot | None = None
    """The slot, of a request that speculates. Asked of a slot for each token, whether it is one
    took a hundredth of the token's time."""
    started: float = 0.0
    prefilled: float = 0.0
    position: int = 0
    last: int = 0
    produced: int = 0
    prediction: Prediction | None = None
    mask: NDArray[np.uint32] | None = None
    mask_known: bool = True
    speculation: Speculation | None = None

    @property
    def answering(self) -> bool:
        return self.phase in (Phase.FORWARD, Phase.DRAW)

    @property
    def runnable(self) -> bool:
        return self.phase is not Phase.DRAW or self.mask_known


class Scheduler:
    """Takes requests, gives outcomes in the order they happen. Single-threaded."""

    def __init__(
        self,
        runner: Runner,
        *,
        clock: Callable[[], float] = time.monotonic,
        prefill_piece: int = PREFILL_PIECE,
        live_limit: int = LIVE_LIMIT,
        speculation: bool = False,
        drafts: Runner | None = None,
    ) -> None:
        """``drafts``: a smaller model of the same tokens, for requests that speculate."""
        self._runner = runner
        self._drafts = drafts
        self._clock = clock
        self._piece = prefill_piece
        self._live_limit = live_limit
        self._speculation = speculation
        self._requests: dict[str, Request] = {}
        self._turns: deque[str] = deque()
        self._queue: deque[str] = deque()

    def submit(
        self,
        request_id: str,
        prompt: NDArray[np.int32],
        options: GenerateOptions,
        *,
        constrained: bool = False,
        adapter: str | None = None,
    ) -> None:
        """Queue a request. ``prompt`` is overwritten once it is in the cache."""
        self._requests[request_id] = Request(
            prompt=prompt,
            options=options,
            constrained=constrained,
            arrived=self._clock(),
            sampler=Sampler(options.sampling),
            adapter=adapter,
        )
        self._queue.append(request_id)

    def give_mask(self, request_id: str, mask: NDArray[np.uint32] | None) -> None:
        """The answer to ``MaskNeeded``. Unknown ids are ignored: the request may have ended."""
        if (request := self._requests.get(request_id)) is not None:
            request.mask, request.mask_known = mask, True

    def cancel(self, request_id: str) -> Outcomes:
        """End a request at once. Unknown ids are ignored."""
        if (request := self._requests.get(request_id)) is not None:
            yield request_id, self._finished(request_id, request, FinishReason.CANCELLED)

    @property
    def idle(self) -> bool:
        """Nothing can run until a message comes."""
        admissible = self._queue and len(self._turns) < self._live_limit
        return not admissible and not any(self._requests[i].runnable for i in self._turns)

    def step(self) -> Outcomes:
        """Run one unit of the request whose turn it is; every answer that can grow joins in."""
        self._admit()
        first = next((i for i in self._turns if self._requests[i].runnable), None)
        if first is None:
            return
        if self._requests[first].answering:
            yield from self._answer()
        else:
            self._to_the_back([first])
            yield from self._guarded(first, self._prefill)

    def _admit(self) -> None:
        while self._queue and len(self._turns) < self._live_limit:
            self._turns.append(self._queue.popleft())

    def _to_the_back(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self._turns.remove(request_id)
        self._turns.extend(request_ids)

    def _answer(self) -> Outcomes:
        """One token of each answer: those whose last token is not in the cache step as one."""
        live = [(request_id, self._requests[request_id]) for request_id in self._turns]
        growing = [each for each in live if each[1].answering and each[1].runnable]
        self._to_the_back([request_id for request_id, _ in growing])
        if self._guesses(growing):
            yield from self._guarded(growing[0][0], self._speculate)
            return
        yield from self._forward_all([each for each in growing if each[1].phase is Phase.FORWARD])
        for request_id, request in growing:
            if request.phase is Phase.DRAW and request.mask_known:
                yield from self._guarded(request_id, self._draw)

    def _guesses(self, growing: list[tuple[str, Request]]) -> bool:
        """Rows of guesses would hold others up."""
        request = growing[0][1]
        alone = len(self._requests) == 1 and request.phase is Phase.FORWARD
        return alone and request.speculation is not None

    def _speculate(self, request_id: str, request: Request) -> Outcomes:
        """Tokens until one was not guessed; what was guessed wrong is taken back."""
        slot, speculation = request.rewinding, request.speculation
        if speculation is None or slot is None:
            raise EngineError("the request cannot speculate")
        began = self._clock()
        ids = speculation.next_ids(request.last, request.options.max_tokens - request.produced)
        rows = slot.forward_each(ids) if ids.size > 1 else [slot.forward(ids)]
        speculation.took(ids.size, self._clock() - began)
        drawn = 0
        try:
            for drawn, prediction in enumerate(rows, 1):
                request.prediction, request.phase = prediction, Phase.DRAW
                yield from self._draw(request_id, request)
                if request.slot is None:
                    break  # it has ended
                if drawn == ids.size or request.last != ids[drawn]:
                    slot.take_back(ids.size - drawn)
                    break
        finally:
            ids.fill(0)
            for prediction in rows[drawn:]:
                prediction.logits.fill(0)

    def _forward_all(self, growing: list[tuple[str, Request]]) -> Outcomes:
        slots = [request.slot for _, request in growing if request.slot is not None]
        if not slots:
            return
        last = np.array([request.last for _, request in growing], dtype=np.int32)
        try:
            predictions = self._runner.step(slots, last)
        except (MemoryError, LanaiError) as error:
            for request_id, request in growing:
                yield self._failed(request_id, request, _code(error))
            return
        for (_, request), prediction in zip(growing, predictions, strict=True):
            request.prediction, request.phase = prediction, Phase.DRAW

    def _guarded(self, request_id: str, unit: Callable[[str, Request], Outcomes]) -> Outcomes:
        request = self._requests[request_id]
        try:
            yield from unit(request_id, request)
        except (MemoryError, LanaiError) as error:
            yield self._failed(request_id, request, _code(error))

    def _prefill(self, request_id: str, request: Request) -> Outcomes:
        if request.phase is Phase.QUEUED:
            request.started, request.phase = self._clock(), Phase.PREFILL
            request.slot = self._runner.begin(
                request.prompt.size, request.options.max_tokens, request.adapter
            )
        piece = request.prompt[request.position : request.position + self._piece]
        prediction = self._forward(request, piece)
        request.position += piece.size
        if request.position < request.prompt.size:
            return
        request.prefilled = self._clock()
        request.phase, request.prediction = Phase.DRAW, prediction
        yield request_id, _prefilled(request, prediction)
        request.speculation = self._speculation_of(request)
        request.prompt.fill(0)
        if request.options.max_tokens == 0:
            yield request_id, self._finished(request_id, request, FinishReason.LENGTH)
        else:
            yield from self._ask_mask(request_id, request)
            if request.mask_known:
                yield from self._draw(request_id, request)

    def _speculation_of(self, request: Request) -> Speculation | None:
        options, slot = request.options, request.slot
        if not (self._speculation and options.speculation) or request.constrained:
            return None
        if not isinstance(slot, RewindingSlot) or (rows := slot.most_rows) == 1:
            return None
        request.rewinding = slot
        return Speculation(
            request.prompt, answer=options.max_tokens, rows=rows, draft=self._draft_of(request)
        )

    def _draft_of(self, request: Request) -> DraftModel | None:
        if self._drafts is None:
            return None
        prompt, answer = request.prompt.size, request.options.max_tokens
        slot = self._drafts.begin(prompt, answer)
        return DraftModel(slot, room=prompt + answer) if isinstance(slot, RewindingSlot) else None

    def _draw(self, request_id: str, request: Request) -> Outcomes:
        """Draw a token; end the request on a stop id or when the answer is full."""
        if request.prediction is None:
            raise EngineError("no prediction to draw from")
        token = request.sampler.draw(request.prediction.logits, request.mask)
        if token in request.options.stop_ids:
            yield request_id, self._finished(request_id, request, FinishReason.STOP)
            return
        request.last, request.phase = token, Phase.FORWARD
        request.produced += 1
        if request.speculation is not None:
            request.speculation.add(token)
        yield request_id, Token(id=token, statistics=_statistics(request, token))
        _forget(request)
        if request.produced == request.options.max_tokens:
            yield request_id, self._finished(request_id, request, FinishReason.LENGTH)
        else:
            yield from self._ask_mask(request_id, request)

    def _ask_mask(self, request_id: str, request: Request) -> Outcomes:
        # Asked before the token's forward pass, so that the answer travels meanwhile.
        if request.constrained:
            request.mask, request.mask_known = None, False
            yield request_id, MaskNeeded()

    def _forward(self, request: Request, ids: NDArray[np.int32]) -> Prediction:
        if request.slot is None:
            raise EngineError("the request holds no cache")
        return request.slot.forward(ids)

    def _finished(self, request_id: str, request: Request, reason: FinishReason) -> Finished:
        decode_s = self._clock() - request.prefilled if request.prefilled else 0.0
        guessed = request.speculation
        self._release(request_id, request)
        return Finished(
            reason=reason,
            output_tokens=request.produced,
            decode_s=decode_s,
            drafted=guessed.drafted if guessed else 0,
            accepted=guessed.accepted if guessed else 0,
        )

    def _failed(
        self, request_id: str, request: Request, code: FailureCode | AdapterFault
    ) -> tuple[str, RequestFailed]:
        self._release(request_id, request)
        return request_id, RequestFailed(code=code)

    def _release(self, request_id: str, request: Request) -> None:
        del self._requests[request_id]
        request.phase = Phase.ENDED
        for line in (self._turns, self._queue):
            if request_id in line:
                line.remove(request_id)
        request.prompt.fill(0)
        _forget(request)
        request.last, request.mask = 0, None
        if request.speculation is not None:
            request.speculation.wipe()
            request.speculation = None
        if request.slot is not None:
            request.slot.wipe()
            request.slot = request.rewinding = None


def _code(error: Exception) -> FailureCode | AdapterFault:
    if isinstance(error, AdapterError):
        return error.fault
    memory = isinstance(error, MemoryError)
    return FailureCode.NO_MEMORY if memory else FailureCode.MODEL_FAILED


def _forget(request: Request) -> None:
    """Overwrite the prediction: its largest logit is a token of the answer."""
    if request.prediction is not None:
        request.prediction.logits.fill(0)
        request.prediction = None


def _prefilled(request: Request, prediction: Prediction) -> Prefilled:
    return Prefilled(
        input_tokens=request.prompt.size,
        queue_s=request.started - request.arrived,
        prefill_s=request.prefilled - request.started,
        hidden_state=prediction.hidden if request.options.hidden_state else None,
        statistics=_statistics(request, None),
    )


def _statistics(request: Request, chosen: int | None) -> TokenStatistics | None:
    if not request.options.statistics or request.prediction is None:
        return None
    return statistics(request.prediction.logits, chosen)
