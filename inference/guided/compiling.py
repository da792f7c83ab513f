"""A grammar's text becomes a matcher, within bounds: one made to hang or to eat memory is refused,
or fails at the step that would cost too much."""

from typing import TYPE_CHECKING, Final

from lanai.errors import UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

__all__ = ["compiled"]

# Speeds by llguidance's own account, on one core.
INITIAL_FUEL: Final = 500_000  # 10 ms
STEP_FUEL: Final = 200_000  # 15 ms for one mask
STEP_ITEMS: Final = 20_000  # 1 ms
ROW_ITEMS: Final = 2_000
LEXER_STATES: Final = 20_000  # at 1-2 kB each
GRAMMAR_SYMBOLS: Final = 100_000


def compiled(tokenizer: "LLTokenizer", grammar: str) -> "LLMatcher":
    """The first step is tried, so that what fails at once is an error of the call.

    Raises ``UsageError``, which quotes nothing of the grammar.
    """
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_limits())
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        # Its own message may quote the schema.
        raise UsageError(
            "the schema or pattern is wrong, too large, or uses what is not supported",
            hint="not supported: look-around and back-references in patterns; `not`, "
            "`uniqueItems`, `contains`, remote `$ref` and overlapping `oneOf` in schemas",
        )
    return matcher


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
