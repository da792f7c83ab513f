"""The text side of a packed model: what it was read from, written down as it was understood.

``tokenizer.json`` is the tokenizer itself; ``text.json`` says what it cannot: control tokens, how
tokens spell bytes, the chat template, where answers end. So a packed model tokenizes exactly as the
model it was packed from, whatever format that had.
"""

import json
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from inference.formats.files import read_json, read_text
from inference.text.parts import TextParts
from inference.text.template import ChatTemplate
from inference.text.vocabulary import Vocabulary
from lanai.errors import ModelFormatError

__all__ = ["read_packed_text", "write_packed_text"]

SCHEMA: Final = "lanai.packed-text/1"
_TEXT, _TOKENIZER = "text.json", "tokenizer.json"


def write_packed_text(folder: Path, parts: TextParts) -> None:
    """Write both files into ``folder``."""
    tokens, template = parts.tokens, parts.template
    values = {
        "schema": SCHEMA,
        "size": tokens.size,
        "byte_level": tokens.byte_level,
        "control": dict(tokens.control),
        "added": sorted(tokens.added),
        "bos_id": parts.bos_id,
        "stop_ids": sorted(parts.stop_ids),
        "template": None if template is None else template.source,
        "template_tokens": dict(parts.special if template is None else template.tokens),
    }
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (folder / _TEXT).write_text(text + "\n", encoding="utf-8")
    (folder / _TOKENIZER).write_text(tokens.tokenizer.to_str() + "\n", encoding="utf-8")


def read_packed_text(folder: Path, *, rows: int | None = None) -> TextParts:
    """``rows``: of the model's embeddings. Raises ``ModelFormatError``."""
    values = read_json(folder / _TEXT)
    if values.pop("schema", None) != SCHEMA:
        raise _damaged(folder / _TEXT, f"is not of schema {SCHEMA}")
    _check(folder / _TEXT, values)
    template = values["template"]
    tokens = Vocabulary(
        tokenizer=_tokenizer(folder / _TOKENIZER),
        size=values["size"],
        control=values["control"],
        added=frozenset(values["added"]),
        byte_level=values["byte_level"],
    )
    if tokens.tokenizer.id_to_token(tokens.size) is not None:
        raise _damaged(folder / _TOKENIZER, f"is not the tokenizer of {_TEXT}")
    tokens.check_rows(rows, folder)
    return TextParts(
        tokens=tokens,
        template=None if template is None else ChatTemplate(template, values["template_tokens"]),
        bos_id=values["bos_id"],
        stop_ids=frozenset(values["stop_ids"]),
        special=values["template_tokens"],
    )


def _tokenizer(path: Path) -> Tokenizer:
    text = read_text(path)  # not as a document: that of a large vocabulary takes 250 MB
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the package raises nothing narrower
        raise _damaged(path, "is not a tokenizer that can be read") from error
    tokenizer.encode_special_tokens = True  # the package's name for: do not match them in text
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check(path: Path, values: dict[str, Any]) -> None:
    def texts(value: object) -> bool:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)

    def token(value: object) -> bool:
        return type(value) is int and 0 <= value < values["size"]

    def mapping(value: object) -> bool:
        return isinstance(value, dict)

    kinds: dict[str, Any] = {
        "size": lambda value: type(value) is int and value > 0,
        "byte_level": lambda value: isinstance(value, bool),
        "control": lambda value: mapping(value) and all(map(token, value.values())),
        "added": texts,
        "bos_id": lambda value: value is None or token(value),
        "stop_ids": lambda value: isinstance(value, list) and all(map(token, value)),
        "template": lambda value: value is None or isinstance(value, str),
        "template_tokens": lambda value: mapping(value) and texts(list(value.values())),
    }
    if values.keys() != kinds.keys():
        raise _damaged(path, "lacks a key or has one too many")
    for name, fits in kinds.items():
        if not fits(values[name]):
            raise _damaged(path, f"has a wrong value for {name}")


def _damaged(path: Path, what: str) -> ModelFormatError:
    return ModelFormatError(f"{path} {what}", hint="the file is damaged: pack or pull it again")
