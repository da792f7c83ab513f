"""Forms judged without any model, by their grammar over single bytes.

So a wrong schema is an error before anything is loaded or sent, and what a cloud sends as an answer
of a form is checked here, in time linear in its length.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from inference.guided.compiling import compiled
from inference.guided.forms import OutputForm
from inference.guided.grammar import Manner, check_tools, grammar_of
from inference.text.tools import Tool, ToolChoice

if TYPE_CHECKING:
    from llguidance import LLTokenizer

__all__ = ["FormCheck", "check_request"]

_END: Final = 256
_MANNER: Final = Manner(call_tokens=False, lead=False, ends=())


class FormCheck:
    """Made for one form. Raises ``UsageError`` for one that is wrong or cannot be enforced."""

    def __init__(self, form: OutputForm) -> None:
        self._matcher = compiled(_tokenizer(), grammar_of(form, (), ToolChoice.NONE, _MANNER))

    def accepts(self, text: str) -> bool:
        """Whether ``text`` as a whole is of the form, written as a guided answer would be."""
        ids = list(text.encode("utf-8", "replace"))
        matcher = self._matcher.deep_copy()
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def check_request(form: OutputForm | None, tools: Sequence[Tool], choice: ToolChoice) -> None:
    """Raises ``UsageError`` for a form, tools or a choice that no answer can follow."""
    check_tools(tools, choice)
    if form is not None or tools:
        compiled(_tokenizer(), grammar_of(form, tools, choice, _MANNER))


class _Bytes:
    """A vocabulary of 256 bytes and an end."""

    is_tokenizer_wrapper = True
    tokens = (*(bytes([byte]) for byte in range(_END)), b"<end>")
    special_token_ids = (_END,)
    eos_token_id = _END
    bos_token_id = None

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def _tokenizer() -> "LLTokenizer":
    """Costs 2 ms, so none is kept."""
    from llguidance import LLTokenizer

    return LLTokenizer(_Bytes(), eos_token=[_END])  # type: ignore[arg-type]  # as in `Spelling`
