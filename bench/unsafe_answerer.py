"""One opened request through text model and engine, as the frames of its answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from cloud_node.node.engine_host import EngineHost
from cloud_node.tree.request import AskedFor
from cloud_node.tree.timeline import Timeline
from inference.engine import Finished, FinishReason, Prefilled, Token
from inference.text import TextModel, TextStream
from lanai.content import TokenIds
from lanai.errors import ContextOverflow
from lanai.telemetry import Span
from protos.lanai.v1alpha.envelope_pb2 import AnswerFrame, Final

__all__ = ["Answerer"]


class Answerer:
    """Text in, frames out. The engine is given ids and numbers only."""

    def __init__(
        self, text: TextModel, engine: EngineHost, *, model: str, context_tokens: int
    ) -> None:
        self._text = text
        self._engine = engine
        self._model = model
        self._context_tokens = context_tokens

    async def frames(
        self, asked: AskedFor, timeline: Timeline
    ) -> AsyncGenerator[AnswerFrame, None]:
        """Text frames, then one ``final``. Closing it cancels the engine's work at once.

        Raises ``ContextOverflow``, ``EngineCrashed``, and ``LanaiError`` of the text model.
        """
        # 1. Text becomes ids.
        with timeline.span(Span.NODE_RENDER):
            ids = self._text.render(asked.messages)
        self._check_room(ids, asked.max_tokens)
        # 2. Ids become text again, piece by piece.
        stream = self._text.decoder(asked.stop)
        run = _Run(timeline, submitted=timeline.now())
        async with aclosing(self._engine.submit(ids, asked.options(self._text.stop_ids))) as events:
            async for event in events:
                if piece := run.take(event, stream):
                    yield AnswerFrame(text=piece)
                if stream.stopped:
                    run.finish(FinishReason.STOP)
                    break
        if rest := stream.finish():
            yield AnswerFrame(text=rest)
        # 3. What it cost, for the device's trace.
        timeline.add(Span.NODE, 0.0, timeline.now())
        yield AnswerFrame(final=run.final(self._model))

    def _check_room(self, ids: TokenIds, max_tokens: int) -> None:
        used = len(ids) + max_tokens
        if used > self._context_tokens:
            raise ContextOverflow(
                "prompt and answer do not fit", limit=self._context_tokens, used=used
            )


class _Run:
    """Counts and times of one run of the engine."""

    def __init__(self, timeline: Timeline, *, submitted: float) -> None:
        self._timeline = timeline
        self._submitted = submitted
        self._prefilled = submitted
        self._reason: FinishReason | None = None
        self._input_tokens = 0
        self._output_tokens = 0

    def take(self, event: Prefilled | Token | Finished, stream: TextStream) -> str:
        """Text of this event that is safe to send, often none."""
        match event:
            case Prefilled():
                self._begin(event)
            case Token():
                self._output_tokens += 1
                return stream.push(event.id)
            case Finished():
                self.finish(event.reason)
        return ""

    def finish(self, reason: FinishReason) -> None:
        self._reason = reason
        self._timeline.add(
            Span.NODE_DECODE, self._prefilled, self._timeline.now() - self._prefilled
        )

    def final(self, model: str) -> Final:
        return Final(
            finish_reason=str(self._reason or FinishReason.CANCELLED),
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            model=model,
            timings=self._timeline.timings(),
        )

    def _begin(self, event: Prefilled) -> None:
        self._input_tokens = event.input_tokens
        self._prefilled = self._timeline.now()
        self._timeline.add(Span.NODE_QUEUE, self._submitted, event.queue_s)
        self._timeline.add(Span.NODE_PREFILL, self._prefilled - event.prefill_s, event.prefill_s)
