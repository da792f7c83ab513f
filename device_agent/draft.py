"""An answer of the device whose first tokens are held back until the router has decided."""

from collections.abc import AsyncGenerator, Callable, Sequence

import numpy as np

from device_agent.consult import Consultation
from device_agent.local_answer import LocalAnswer, Piece
from device_agent.tracing import RequestTrace, Step
from inference.engine import Prefilled
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import EngineError
from lanai.telemetry import Attr, Span
from router import AnswerObservation, Decision, DecodeObservation, PrefillObservation, Stage

__all__ = ["Draft"]


class Draft:
    """``prefill``, then ``decide`` where the router wants to look, then ``pieces``."""

    def __init__(self, answer: LocalAnswer, trace: RequestTrace) -> None:
        self.answer = answer
        self._trace = trace
        self._held: list[Piece] = []
        self._decode: Step | None = None

    async def prefill(self) -> Prefilled:
        with self._trace.step(Span.DEVICE_PREFILL) as step:
            prefilled = await self.answer.prefill()
            step.set(Attr.INPUT_TOKENS, prefilled.input_tokens)
        self._decode = self._trace.begin(Span.DEVICE_DECODE)
        return prefilled

    async def decide(
        self,
        consultation: Consultation,
        *,
        valid: Callable[[Content, Sequence[ToolCall]], bool] = lambda text, calls: True,
        undecided: Callable[[], None] = lambda: None,
    ) -> Decision:
        """Stages 1 to 3. ``valid`` judges a whole answer; ``undecided`` is told after the prefill.

        Raises ``EngineError`` when the engine does not tell what was asked.
        """
        prefilled, decision = await self.prefill(), None
        if consultation.open is Stage.PREFILL:
            decision = consultation.prefill(_observe(prefilled))
        if decision is None:
            undecided()
        while consultation.open is Stage.EARLY_DECODE:
            if (piece := await self.answer.piece()) is None:
                raise EngineError("the router did not decide by the end of the draft")
            self._held.append(piece)
            decision = consultation.early_decode(self._observation())
        if consultation.open is Stage.AFTER_ANSWER:
            while (piece := await self.answer.piece()) is not None:
                self._held.append(piece)
            decision = consultation.after_answer(self._answer_observation(valid))
        if decision is None:
            raise EngineError("the router did not decide")
        return decision

    async def pieces(self) -> AsyncGenerator[Content | ToolCall, None]:
        """What was held back, then the rest as it comes. Empty pieces are left out."""
        for held in self._held:
            for said in _said(held):
                yield said
        self._held.clear()
        while (piece := await self.answer.piece()) is not None:
            for said in _said(piece):
                yield said

    async def close(self) -> None:
        """Cancel what still runs; what was held back is forgotten. Idempotent."""
        self._held.clear()
        await self.answer.close()
        if self._decode is not None:
            self._decode.set(Attr.OUTPUT_TOKENS, self.answer.output_tokens)
            if self.answer.drafted:
                self._decode.set(Attr.DRAFTED, self.answer.drafted)
                self._decode.set(Attr.ACCEPTED, self.answer.accepted)
            self._decode.end()
            self._decode = None

    def _observation(self) -> DecodeObservation:
        """Of the tokens held so far; the engine's statistics were asked for with the request."""
        tokens = [(p.token_id, p.statistics) for p in self._held if p.token_id is not None]
        seen = [(i, s) for i, s in tokens if s is not None]
        if len(seen) != len(tokens):
            raise EngineError("the engine left out the statistics it was asked for")
        return DecodeObservation(
            ids=np.array([i for i, _ in seen], dtype=np.int64),
            entropy=np.array([s.entropy for _, s in seen], dtype=np.float64),
            margin=np.array([s.margin for _, s in seen], dtype=np.float64),
            finished=self.answer.finish_reason is not None,
        )

    def _answer_observation(
        self, valid: Callable[[Content, Sequence[ToolCall]], bool]
    ) -> AnswerObservation:
        """Of all tokens, where the engine gave statistics; and the caller's judgement."""
        seen = [each.statistics for each in self._held if each.statistics is not None]
        text = Content("".join(each.text for each in self._held))
        calls = [call for each in self._held for call in each.calls]
        return AnswerObservation(
            entropy=np.array([s.entropy for s in seen], dtype=np.float64),
            margin=np.array([s.margin for s in seen], dtype=np.float64),
            top_probability=np.array([s.top_probability for s in seen], dtype=np.float64),
            valid=valid(text, calls),
        )


def _said(piece: Piece) -> list[Content | ToolCall]:
    return [*([piece.text] if piece.text else []), *piece.calls]


def _observe(prefilled: Prefilled) -> PrefillObservation:
    statistics = prefilled.statistics
    if statistics is None:
        raise EngineError("the engine left out the statistics it was asked for")
    return PrefillObservation(
        input_tokens=prefilled.input_tokens,
        entropy=statistics.entropy,
        margin=statistics.margin,
        top_probability=statistics.top_probability,
        hidden_state=prefilled.hidden_state,
    )
