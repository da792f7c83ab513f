"""Reads a mapping key by key and refuses what it does not know.

Callers map ``Malformed`` to an error of their own; its message names keys, never values.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

__all__ = ["Fields", "Malformed"]

Word = TypeVar("Word", bound=StrEnum)


class Malformed(Exception):
    """A key is missing, unknown or of the wrong type. ``key`` names it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class Fields:
    """One JSON object. Take every key you know, then ``done()``. ``path`` prefixes names."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise Malformed(path or "document", "must be an object")
        self._rest = dict(value)
        self._path = path

    def done(self) -> None:
        """Raise ``Malformed`` when a key was not taken."""
        for key in self._rest:
            raise Malformed(self.named(str(key)), "unknown key")

    def named(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        """Is an optional key there? (Take it then.)"""
        return key in self._rest

    def names(self) -> tuple[str, ...]:
        """Keys not taken yet."""
        return tuple(str(key) for key in self._rest)

    def take(self, key: str) -> object:
        if key not in self._rest:
            raise Malformed(self.named(key), "missing")
        return self._rest.pop(key)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str):
            raise Malformed(self.named(key), "must be a string")
        return value

    def optional_text(self, key: str) -> str | None:
        value = self.take(key)
        return None if value is None else self._again(key, value).text(key)

    def flag(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            raise Malformed(self.named(key), "must be true or false")
        return value

    def optional_flag(self, key: str) -> bool | None:
        """``None`` where it is missing or null."""
        value = self.take(key) if self.has(key) else None
        return None if value is None else self._again(key, value).flag(key)

    def integer(self, key: str) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Malformed(self.named(key), "must be a whole number")
        return value

    def number(self, key: str) -> float:
        """A finite number; whole numbers are taken as floats."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Malformed(self.named(key), "must be a number")
        try:
            number = float(value)
        except OverflowError:  # a whole number of more digits than a float has
            number = math.inf
        if not math.isfinite(number):
            raise Malformed(self.named(key), "must be finite")
        return number

    def optional_number(self, key: str) -> float | None:
        value = self.take(key)
        return None if value is None else self._again(key, value).number(key)

    def word(self, key: str, words: type[Word]) -> Word:
        text = self.text(key)
        known = {word.value: word for word in words}
        if text not in known:
            raise Malformed(self.named(key), f"must be one of {', '.join(known)}")
        return known[text]

    def optional_word(self, key: str, words: type[Word]) -> Word | None:
        value = self.take(key)
        return None if value is None else self._again(key, value).word(key, words)

    def items(self, key: str) -> tuple[object, ...]:
        value = self.take(key)
        if not isinstance(value, list | tuple):
            raise Malformed(self.named(key), "must be a list")
        return tuple(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(self._again(key, value).number(key) for value in self.items(key))

    def fields(self, key: str) -> "Fields":
        return Fields(self.take(key), self.named(key))

    def part(self, key: str) -> "Fields | None":
        """An optional object: ``None`` where it is missing or null."""
        value = self.take(key) if self.has(key) else None
        return None if value is None else Fields(value, self.named(key))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object that is carried, not read."""
        value = self.take(key)
        if not isinstance(value, Mapping):
            raise Malformed(self.named(key), "must be an object")
        return dict(value)

    def each(self, key: str) -> list["Fields"]:
        """A list of objects."""
        return [Fields(v, f"{self.named(key)}[{i}]") for i, v in enumerate(self.items(key))]

    def _again(self, key: str, value: object) -> "Fields":
        return Fields({key: value}, self._path)
