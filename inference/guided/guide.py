"""A model's vocabulary as llguidance knows it, and answers guided by a grammar over it.

``Guide.of`` costs 0.1 s for 49 thousand tokens and 0.9 s for 262 thousand, so it is made once for a
model, in a zygote before its forks: it starts no thread, and a child may use its parent's. A
grammar costs milliseconds and is made for each request; sizes, states and steps are bounded, so
that a schema made to hang or to eat memory is refused, or ends its own answer.

Earley parsing with derivative-based lexing: https://github.com/guidance-ai/llguidance
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inference.guided.constraint import GrammarConstraint
from inference.guided.forms import OutputForm
from inference.guided.grammar import Manner, check_tools, grammar_of
from inference.guided.reader import AnswerReader, Piece
from inference.guided.spelling import Spelling
from inference.text import TextModel, Tool, ToolChoice
from inference.text.tools import CALL_END, CALL_START
from lanai.errors import UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

__all__ = ["Guide", "GuidedAnswer"]

# Speeds by llguidance's own account, on one core.
INITIAL_FUEL: Final = 500_000  # 10 ms
STEP_FUEL: Final = 200_000  # 15 ms for one mask
STEP_ITEMS: Final = 20_000  # 1 ms
ROW_ITEMS: Final = 2_000
LEXER_STATES: Final = 20_000  # at 1-2 kB each
GRAMMAR_SYMBOLS: Final = 100_000


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
        if form is not None or calls:
            constraint = GrammarConstraint(
                self._compile(form, tools, choice),
                vocabulary=vocabulary,
                stop_ids=self._text.stop_ids,
            )
        reader = AnswerReader(
            self._text.tokens,
            (*self._text.stop_strings, *stop),
            calls=calls,
            strip_start=self._text.template is None,
        )
        return GuidedAnswer(constraint, reader)

    def _compile(
        self, form: OutputForm | None, tools: Sequence[Tool], choice: ToolChoice
    ) -> "LLMatcher":
        """The first step is tried here, so that what fails at once is an error of the call."""
        matcher = self._matcher(grammar_of(form, tools, choice, self._manner))
        tried = matcher
        if self._manner.lead:  # else the first step could be the space before what never comes
            manner = replace(self._manner, lead=False)
            tried = self._matcher(grammar_of(form, tools, choice, manner))
        if not tried.is_error():
            tried.compute_bitmask()
        if tried.is_error() or matcher.is_error():
            # Its message may quote the schema.
            raise UsageError(
                "the schema or pattern is wrong, too large, or uses what is not supported",
                hint="not supported: look-around and back-references in patterns; `not`, "
                "`uniqueItems`, `contains`, remote `$ref` and overlapping `oneOf` in schemas",
            )
        return matcher

    def _matcher(self, grammar: str) -> "LLMatcher":
        from llguidance import LLMatcher

        return LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits())


def _limits() -> "LLParserLimits":
    from llguidance import LLParserLimits

    return LLParserLimits(
        max_items_in_row=ROW_ITEMS,
        initial_lexer_fuel=INITIAL_FUEL,
        step_lexer_fuel=STEP_FUEL,
        step_max_items=STEP_ITEMS,
        max_lexer_states=LEXER_STATES,
        max_grammar_size=GRAMMAR_SYMBOLS,
        verbose_errors=False,
    )
