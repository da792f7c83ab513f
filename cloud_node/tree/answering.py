"""One opened request through the text model and the engine's events, as frames. Sans-IO."""

from collections.abc import Iterator

from cloud_node.tree.request import AskedFor
from cloud_node.tree.timeline import Timeline
from inference.engine import (
    Constraint,
    Event,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Token,
)
from inference.guided import Guide, GuidedAnswer, plain_answer
from inference.text import TextModel, ToolCall
from lanai.content import Content, TokenIds
from lanai.errors import CloudRefused, ContextOverflow, RefusalCode, UsageError
from lanai.telemetry import Span
from protos.lanai.v1alpha import envelope_pb2
from protos.lanai.v1alpha.envelope_pb2 import AnswerFrame, Final

__all__ = ["Answering", "failure_code"]


class Answering:
    """Made for one request. ``start`` once, then ``take`` each event until ``finished``."""

    def __init__(
        self,
        text: TextModel,
        asked: AskedFor,
        timeline: Timeline,
        *,
        model: str,
        context_tokens: int,
        guide: Guide | None = None,
    ) -> None:
        self._text = text
        self._asked = asked
        self._timeline = timeline
        self._model = model
        self._context_tokens = context_tokens
        self._guide = guide
        self._answer = plain_answer(text, asked.stop)
        self._submitted = 0.0
        self._prefilled = 0.0
        self._reason: FinishReason | None = None
        self._input_tokens = 0
        self._output_tokens = 0

    @property
    def finished(self) -> bool:
        """The final frame was given; the engine's further events mean nothing."""
        return self._reason is not None

    @property
    def options(self) -> GenerateOptions:
        """What the engine is told: numbers only."""
        return self._asked.options(self._text.stop_ids)

    @property
    def constraint(self) -> Constraint | None:
        """Asked before each step of an answer that is held to a grammar; once started."""
        return self._answer.constraint

    def start(self, vocabulary: int) -> TokenIds:
        """The prompt's ids, for an engine of so many token ids.

        Raises ``ContextOverflow``, ``UsageError`` and what the text model raises.
        """
        with self._timeline.span(Span.NODE_RENDER):
            ids = self._text.render(self._asked.messages, self._asked.tools)
            if self._asked.guided:
                self._answer = self._guided(vocabulary)
        used = len(ids) + self._asked.max_tokens
        if used > self._context_tokens:
            raise ContextOverflow(
                "prompt and answer do not fit", limit=self._context_tokens, used=used
            )
        self._submitted = self._prefilled = self._timeline.now()
        return ids

    def take(self, event: Event) -> Iterator[AnswerFrame]:
        """Frames of this event, often none; after the last event, the final frame."""
        match event:
            case Prefilled():
                self._begin(event)
            case Token():
                self._output_tokens += 1
                yield from map(_frame, self._answer.push(event.id))
                if self._answer.stopped:
                    yield from self._finish(FinishReason.STOP)
            case Finished():
                yield from self._finish(event.reason)

    def _guided(self, vocabulary: int) -> GuidedAnswer:
        """Raises ``UsageError`` for a form or tools that no grammar can enforce."""
        guide = self._guide or Guide.of(self._text)
        return guide.answer(
            form=self._asked.form,
            tools=self._asked.tools,
            choice=self._asked.tool_choice,
            stop=self._asked.stop,
            vocabulary=vocabulary,
        )

    def _begin(self, event: Prefilled) -> None:
        self._input_tokens = event.input_tokens
        self._prefilled = self._timeline.now()
        self._timeline.add(Span.NODE_QUEUE, self._submitted, event.queue_s)
        self._timeline.add(Span.NODE_PREFILL, self._prefilled - event.prefill_s, event.prefill_s)

    def _finish(self, reason: FinishReason) -> Iterator[AnswerFrame]:
        yield from map(_frame, self._answer.finish())
        self._reason = reason
        now = self._timeline.now()
        self._timeline.add(Span.NODE_DECODE, self._prefilled, now - self._prefilled)
        self._timeline.add(Span.NODE, 0.0, now)
        yield AnswerFrame(
            final=Final(
                finish_reason=str(reason),
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
                model=self._model,
                timings=self._timeline.timings(),
            )
        )


def failure_code(error: Exception) -> RefusalCode:
    """The word for what went wrong after the answer began."""
    match error:
        case CloudRefused():
            return error.refusal
        case ContextOverflow():
            return RefusalCode.CONTEXT_OVERFLOW
        case UsageError():  # a conversation the model's template refuses
            return RefusalCode.BAD_REQUEST
        case TimeoutError():
            return RefusalCode.EXPIRED
        case _:
            return RefusalCode.INTERNAL


def _frame(piece: Content | ToolCall) -> AnswerFrame:
    if isinstance(piece, ToolCall):
        call = envelope_pb2.ToolCall(id=piece.id, name=piece.name, arguments=piece.arguments)
        return AnswerFrame(tool_call=call)
    return AnswerFrame(text=piece)
