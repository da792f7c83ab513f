"""What an answer's text must be. Checked for size here, before anything is compiled."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from lanai.errors import UsageError

__all__ = ["Choices", "JsonSchema", "OutputForm", "Regex", "check_schema"]

MAX_SCHEMA_CHARACTERS: Final = 1 << 16
MAX_SCHEMA_DEPTH: Final = 48
MAX_SCHEMA_VALUES: Final = 8192
MAX_REGEX_CHARACTERS: Final = 4096
MAX_CHOICES: Final = 512
MAX_CHOICE_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchema:
    """JSON of this schema, in the schema's own order of properties. Draft 2020-12, most of it.

    Raises ``UsageError`` for more than 64 Ki characters, 8,192 values or a depth of 48.
    """

    schema: dict[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        check_schema(self.schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """Text that matches ``pattern`` as a whole.

    Rust's syntax: no look-around, no back-references. ``\\d`` is one of 0 to 9; ``.`` is any
    character but a line break.

    Raises ``UsageError`` for more than 4,096 characters.
    """

    pattern: str = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise UsageError("the regular expression is empty or no text")
        _require_unicode(self.pattern)
        if len(self.pattern) > MAX_REGEX_CHARACTERS:
            raise UsageError(f"the regular expression is over {MAX_REGEX_CHARACTERS} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """One of these texts.

    Raises ``UsageError`` for none, over 512, or one that is empty or over 1,024 characters.
    """

    options: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.options, str):
            raise UsageError("choices are a tuple of texts, not one text")
        object.__setattr__(self, "options", tuple(map(str, self.options)))
        if not 1 <= len(self.options) <= MAX_CHOICES:
            raise UsageError(f"the number of choices is not between 1 and {MAX_CHOICES}")
        _require_unicode("".join(self.options))
        if not all(1 <= len(option) <= MAX_CHOICE_CHARACTERS for option in self.options):
            raise UsageError(f"a choice is empty or over {MAX_CHOICE_CHARACTERS} characters")


OutputForm = JsonSchema | Regex | Choices


def check_schema(schema: object) -> str:
    """The schema as JSON text. Raises ``UsageError`` for one that is no object, or too large."""
    if not isinstance(schema, dict):
        raise UsageError("a JSON Schema is a JSON object")
    for values, depth in enumerate(_depths(schema), start=1):
        if depth > MAX_SCHEMA_DEPTH or values > MAX_SCHEMA_VALUES:
            raise UsageError(
                "the JSON Schema is too deep or holds too many values",
                hint=f"at most {MAX_SCHEMA_DEPTH} levels and {MAX_SCHEMA_VALUES} values",
            )
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError):
        raise UsageError("the JSON Schema holds what JSON cannot") from None
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise UsageError(f"the JSON Schema is over {MAX_SCHEMA_CHARACTERS} characters")
    return text


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("a form's text is not valid Unicode") from None


def _depths(value: object) -> Iterator[int]:
    """The depth of each value, without recursion. A loop of objects never ends by itself."""
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        value, depth = waiting.pop()
        yield depth
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(each, depth + 1) for each in value]
