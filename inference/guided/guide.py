"""A model's vocabulary as llguidance knows it, and answers guided by a grammar over it.

``Guide.of`` costs 0.1 s for 49 thousand tokens and 0.9 s for 262 thousand, so it is made once for a
model, in a zygote before its forks: it starts no thread, and a child may use its parent's. A
grammar costs milliseconds and is made for each request.

Earley parsing with derivative-based lexing: https://github.com/guidance-ai/llguidance
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from inference.guided.compiling import compiled
from inference.guided.constraint import GrammarConstraint
from inference.guided.forms import OutputForm
from inference.guided.grammar import Manner, check_tools, grammar_of
from inference.guided.reader import AnswerReader, Piece
from inference.guided.spelling import Spelling
from inference.text import TextModel, Tool, ToolChoice
from inference.text.tools import CALL_END, CALL_START
from lanai.errors import UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["Guide", "GuidedAnswer", "plain_answer"]


class GuidedAnswer:
    """One answer: push its tokens, then ``finish``; ``complete`` then tells whether it is whole."""

    def __init__(self, constraint: GrammarConstraint | None, reader: AnswerReader) -> None:
        self.constraint = constraint
        """For the engine. ``None``: every token is allowed all along."""
        self._reader = reader
        self._tokens: list[int] = []

    def __repr__(self) -> str:
        return f"<guided answer: {len(self._tokens)} tokens, {self.calls} calls>"

    @property
    def calls(self) -> int:
        """Whole calls so far."""
        return self._reader.calls

    @property
    def stopped(self) -> bool:
        """Nothing more comes; the engine's request may be closed."""
        return self._reader.stopped

    @property
    def complete(self) -> bool:
        """The tokens pushed are a whole answer of its form, not one cut off."""
        whole = self.constraint is None or self.constraint.completed_by(self._tokens)
        return (whole or self._reader.repeated) and not self._reader.broken

    def push(self, token_id: int) -> list[Piece]:
        """Text and calls that are whole after this token."""
        if self.constraint is not None:
            self._tokens.append(token_id)
        return self._reader.push(token_id)

    def finish(self) -> list[Piece]:
        """What was held back; the answer is over."""
        return self._reader.finish()


class Guide:
    """Made by ``of``, once for a model. Not changed by its answers, which share nothing."""

    def __init__(self, text: TextModel, tokenizer: "LLTokenizer") -> None:
        self._text = text
        self._tokenizer = tokenizer
        control = text.tokens.control
        self._manner = Manner(
            call_tokens=text.knows_tools and CALL_START in control and CALL_END in control,
            lead=text.template is None,
            ends=text.stop_strings[:1],
        )

    @classmethod
    def of(cls, text: TextModel) -> "Guide":
        """Raises ``UnsupportedModel`` for a vocabulary that cannot be guided."""
        return cls(text, Spelling(text).tokenizer())

    def answer(
        self,
        *,
        form: OutputForm | None = None,
        tools: Sequence[Tool] = (),
        choice: ToolChoice = ToolChoice.AUTO,
        stop: Sequence[str] = (),
        vocabulary: int,
    ) -> GuidedAnswer:
        """One answer of a model whose engine has ``vocabulary`` token ids.

        Raises ``UsageError`` for a schema or pattern that is wrong, not supported or too large,
        stop strings beside a form, and a call required of no tool.
        """
        if form is not None and stop:
            raise UsageError(
                "stop strings would cut an answer of a fixed form", hint="leave `stop` empty"
            )
        check_tools(tools, choice)
        calls = bool(tools) and choice is not ToolChoice.NONE
        constraint = None
        if form is not None or tools:
            constraint = GrammarConstraint(
                self._compile(form, tools, choice),
                vocabulary=vocabulary,
                stop_ids=self._text.stop_ids,
            )
        return GuidedAnswer(constraint, reader_of(self._text, stop, calls=calls))

    def _compile(
        self, form: OutputForm | None, tools: Sequence[Tool], choice: ToolChoice
    ) -> "LLMatcher":
        matcher = compiled(self._tokenizer, grammar_of(form, tools, choice, self._manner))
        if self._manner.lead:  # its first step may be a space before what can never come
            manner = replace(self._manner, lead=False)
            compiled(self._tokenizer, grammar_of(form, tools, choice, manner))
        return matcher


def plain_answer(text: TextModel, stop: Sequence[str] = ()) -> GuidedAnswer:
    """An answer of free text: it needs no guide."""
    return GuidedAnswer(None, reader_of(text, stop, calls=False))


def reader_of(text: TextModel, stop: Sequence[str], *, calls: bool) -> AnswerReader:
    stops = (*text.stop_strings, *stop)
    return AnswerReader(text.tokens, stops, calls=calls, strip_start=text.template is None)
