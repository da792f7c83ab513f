"""Values out of a text, as a Pydantic model; by default each text among them stands there.

A model held to a schema answers *something* for every field. Held to spans of the text too, what it
answers was at least said: names are not invented, telephone numbers not continued.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Generic, TypeVar, Unpack

from pydantic import BaseModel, ValidationError

from device_agent.features.asking import Featured, Where, check_text, task
from device_agent.features.result import Result
from device_agent.structured import schema_of
from lanai.errors import UsageError, ValidationFailed

__all__ = ["Extracted", "extract", "held_to", "spans"]

INSTRUCTIONS: Final = "Extract from the input text: {fields}."
MAX_TOKENS: Final = 256
LONGEST_SPAN: Final = 8
"""Words of one text value."""
MOST_WORDS: Final = 800
"""Of a text whose spans become a pattern; compiling it takes 0.2 s then."""

_WORD: Final = re.compile(r"\w(?:\S*\w)?")
_SPECIAL: Final = re.compile(r"([\\.+*?()|\[\]{}^$#&~/-])")
_SPAN: Final = "a_span_of_the_text"
_OWN_FORM: Final = frozenset({"enum", "const", "pattern", "format"})

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted(Result, Generic[M]):
    value: M = field(repr=False)


async def extract(
    where: Where, text: str, *, into: type[M], verbatim: bool = True, **asked: Unpack[Featured]
) -> Extracted[M]:
    """``verbatim``: text fields are spans of ``text``, of up to eight words.

    Fields that may be absent need a type that says so (``str | None``): each is answered. A field's
    description is told to the model. Raises ``UsageError`` for a text that is empty or a model that
    JSON cannot hold, ``ValidationFailed`` for an answer that is none, and as ``respond`` does.
    """
    schema = schema_of(into)
    if verbatim:
        schema = held_to(check_text(text), schema)
    work = task(where, "extract", INSTRUCTIONS.format(fields=", ".join(_told(into))), asked)
    reply = await work.ask(check_text(text), into=schema, max_tokens=MAX_TOKENS)
    try:
        value = into.model_validate(reply.value)
    except ValidationError:  # quotes its input
        raise ValidationFailed("the answer is not of the model asked for", cut_off=False) from None
    return Extracted(value=value, replies=tuple(work.replies))


def held_to(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, each free text in it a span of ``text``. Raises ``UsageError`` as ``spans``."""
    of_text = {"type": "string", "pattern": spans(text)}
    held: dict[str, Any] = _held(schema)
    return held | {"$defs": held.get("$defs", {}) | {_SPAN: of_text}}


def spans(text: str) -> str:
    """A pattern of its runs of words, without punctuation at their ends. Raises ``UsageError``."""
    words = list(_WORD.finditer(text))
    if not 0 < len(words) <= MOST_WORDS:
        raise UsageError(
            f"a text of {len(words)} words has no pattern of its spans",
            hint=f"1 to {MOST_WORDS} words, or verbatim=False",
        )
    return f"^({'|'.join(dict.fromkeys(_from(text, words, at) for at in range(len(words))))})$"


def _from(text: str, words: list[re.Match[str]], first: int) -> str:
    """``one( two( three)?)?``"""
    run = words[first : first + LONGEST_SPAN]
    ends = [words[first].start(), *(word.end() for word in run)]
    parts = [_SPECIAL.sub(r"\\\1", text[a:b]) for a, b in pairwise(ends)]
    return "(".join(parts) + ")?" * (len(parts) - 1)


def _told(into: type[BaseModel]) -> Iterator[str]:
    for name, of in into.model_fields.items():
        words = (of.alias or name).replace("_", " ")
        yield f"{words} ({of.description})" if of.description else words


def _held(schema: Any) -> Any:
    """The same, each free text in it held to the spans."""
    if isinstance(schema, list):
        return [_held(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "string" and not _OWN_FORM & schema.keys():
        return {"$ref": f"#/$defs/{_SPAN}"}
    return {name: _held(inner) for name, inner in schema.items()}
