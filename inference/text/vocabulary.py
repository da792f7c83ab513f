"""A tokenizer with its control tokens set apart, and the bytes each token stands for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from tokenizers import Tokenizer

from inference.text.messages import Part
from lanai.content import TokenIds
from lanai.errors import ModelFormatError, UsageError

__all__ = ["Vocabulary", "is_plain_text"]

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_HTML_TAG = re.compile(r"</?[a-z][a-z0-9]*>")


def is_plain_text(token: str) -> bool:
    """Whether an added token may be made from user text: runs of whitespace, HTML tags.

    Models list these beside their control tokens; all others steer the model and may not.
    """
    return token.isspace() or _HTML_TAG.fullmatch(token) is not None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Vocabulary:
    """``tokenizer`` never makes one of the ``control`` tokens from text.

    ``byte_level``: pieces spell bytes in GPT-2's alphabet; else spaces are ``▁`` and single bytes
    ``<0xNN>``. ``added`` holds the tokens that spell themselves.
    """

    tokenizer: Tokenizer
    size: int
    control: Mapping[str, int]
    added: frozenset[str]
    byte_level: bool
    silent: frozenset[int] = field(init=False)
    """Ids that add nothing to a text."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "silent", frozenset(self.control.values()))

    def check_rows(self, rows: int | None, path: Path) -> None:
        """Raises ``ModelFormatError`` when text can become tokens that a model of so many ``rows``
        of embeddings does not have; ``None`` where nobody says. Control tokens at the end are not
        counted: some tokenizers hold those of sister models that see or hear, too."""
        reach = self.size
        while reach - 1 in self.silent:
            reach -= 1
        if rows is not None and reach > rows:
            raise ModelFormatError(
                f"{path}: the tokenizer has {reach} tokens, the model knows {rows}",
                hint="put the tokenizer there that the model was trained with",
            )

    def same_tokens(self, other: "Vocabulary") -> bool:
        """Whether every id stands for the same token."""
        return self.tokenizer.get_vocab() == other.tokenizer.get_vocab()

    def encode(self, text: str) -> TokenIds:
        """Plain text to ids. Raises ``UsageError`` for text with lone surrogates."""
        try:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            raise UsageError(
                "the text is not valid Unicode", hint="it holds half of a surrogate pair"
            ) from None
        # The tokenizer is built so that this cannot happen; a strange vocabulary must not change
        # that.
        if not self.silent.isdisjoint(ids):
            raise UsageError("the text cannot be encoded without one of the model's control tokens")
        return TokenIds(ids)

    def encode_parts(self, parts: Sequence[Part]) -> TokenIds:
        """A prompt to ids; control tokens come from trusted parts alone.

        Text between two control tokens is encoded in one piece, as in training, so that a word or a
        line break that spans a boundary becomes the same tokens.
        """
        ids: list[int] = []
        pieces = [piece for part in parts for piece in self._pieces(part)]
        for control, run in groupby(pieces, key=lambda piece: isinstance(piece, int)):
            if control:
                ids += [piece for piece in run if isinstance(piece, int)]
            else:
                ids += self.encode("".join(piece for piece in run if isinstance(piece, str)))
        return TokenIds(ids)

    def _pieces(self, part: Part) -> list[str | int]:
        """Control token ids and the text between them."""
        found = [token for token in self.control if part.trusted and token in part.text]
        if not found:
            return [str(part.text)]
        longest_first = sorted(found, key=len, reverse=True)
        pattern = "(" + "|".join(map(re.escape, longest_first)) + ")"
        return [self.control.get(piece, piece) for piece in re.split(pattern, part.text) if piece]

    def bytes_of(self, token_id: int) -> bytes:
        """UTF-8 bytes the token adds to a text; none for control tokens and ids without a token."""
        known = 0 <= token_id < self.size and token_id not in self.silent
        piece = self.tokenizer.id_to_token(token_id) if known else None
        if piece is None:
            return b""
        if piece in self.added:
            return piece.encode()
        if self.byte_level:
            return b"".join(_BYTES.get(sign) or sign.encode() for sign in piece)
        if single := _BYTE_PIECE.fullmatch(piece):
            return bytes.fromhex(single[1])
        return piece.replace("▁", " ").encode()


def _byte_alphabet() -> dict[str, bytes]:
    """GPT-2's spelling of bytes: printable Latin-1 as itself, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    signs = {chr(byte): bytes([byte]) for byte in printable}
    return signs | {chr(256 + rank): bytes([byte]) for rank, byte in enumerate(others)}


_BYTES = _byte_alphabet()
