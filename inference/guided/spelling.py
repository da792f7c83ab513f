"""How a model's tokens are spelled, in the form llguidance builds its trie from."""

from typing import TYPE_CHECKING

from inference.text import TextModel
from lanai.errors import UnsupportedModel, UsageError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

__all__ = ["Spelling"]

_PROBE = 'a b{"c": [1.5, "Å"]}\n'


class Spelling:
    """llguidance reads these attributes; it calls the object to tokenize what a grammar forces."""

    is_tokenizer_wrapper = True

    def __init__(self, text: TextModel) -> None:
        """Raises ``UnsupportedModel`` for a model without a token that ends an answer."""
        if not text.stop_ids:
            raise UnsupportedModel("the model has no token that ends an answer")
        names = {token: name for name, token in text.tokens.control.items()}
        self.tokens = [
            names[token].encode() if token in names else text.tokens.bytes_of(token)
            for token in range(text.vocabulary)
        ]
        self.special_token_ids = sorted(names)
        self.eos_token_id = min(text.stop_ids)
        self.bos_token_id = text.bos_id
        self._text = text
        self._greedy: LLTokenizer | None = None

    def tokenizer(self) -> "LLTokenizer":
        """llguidance's own view; starts no thread."""
        from llguidance import LLTokenizer

        made = LLTokenizer(
            self,  # type: ignore[arg-type]  # the class it names only copies these attributes
            n_vocab=self._text.vocabulary,
            eos_token=sorted(self._text.stop_ids),
        )
        # A tokenizer that puts something before every text does not tokenize the middle of one.
        if not self._faithful():
            self._greedy = made
        return made

    def __call__(self, text: str | bytes) -> list[int]:
        told = text if isinstance(text, str) else text.decode("utf-8", "replace")
        if self._greedy is not None:
            return self._greedy.greedy_tokenize(told)
        return list(self._text.encode(told))

    def _faithful(self) -> bool:
        try:
            ids = self._text.encode(_PROBE)
        except UsageError:
            return False
        return b"".join(self.tokens[token] for token in ids) == _PROBE.encode()
