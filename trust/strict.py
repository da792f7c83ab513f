"""Strict JSON for outside data: bounded, exact keys, exact types, one encoding for each value.

`canonical` is the only encoding of a value here: sorted keys, no spaces, ASCII. Whatever is signed
or hashed is read back with `read_canonical`, so that two byte strings never mean the same.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lanai.errors import Rejection, TrustError

__all__ = ["Fields", "canonical", "malformed", "read_canonical", "read_object"]


def malformed(message: str) -> TrustError:
    """The error for data that is not of the agreed form."""
    return TrustError(message, reason=Rejection.MALFORMED)


def canonical(value: Mapping[str, object]) -> bytes:
    """The one encoding of a JSON object. Raises ``ValueError`` for NaN and infinities."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def read_object(text: str, *, limit: int) -> dict[str, object]:
    """A JSON object of at most ``limit`` characters, in any layout, without repeated keys."""
    if len(text) > limit:
        raise TrustError(f"more than {limit} characters of JSON", reason=Rejection.TOO_LARGE)
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The cause would quote the text.
        raise malformed("not JSON, or a key twice") from None
    if not isinstance(value, dict):
        raise malformed("not a JSON object")
    return value


def read_canonical(data: bytes, *, limit: int) -> dict[str, object]:
    """The object whose `canonical` encoding is exactly ``data``."""
    if len(data) > limit:
        raise TrustError(f"more than {limit} bytes of JSON", reason=Rejection.TOO_LARGE)
    try:
        value = read_object(data.decode("ascii"), limit=limit)
        same = canonical(value) == data
    except (ValueError, RecursionError):
        raise malformed("not ASCII JSON") from None
    if not same:
        raise malformed("JSON is not in its canonical form")
    return value


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("repeated key")
    return value


def _no_constant(name: str) -> object:
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class Fields:
    """One object whose keys are known to be exactly the expected ones; reads them by type."""

    values: Mapping[str, object]

    @classmethod
    def exactly(cls, value: object, names: Collection[str]) -> "Fields":
        """Raises ``TrustError`` for a missing or an unknown key."""
        if not isinstance(value, dict):
            raise malformed("not a JSON object")
        if missing := sorted(set(names) - set(value)):
            raise malformed(f"key {missing[0]} is missing")
        if set(value) - set(names):
            raise malformed("a key that is not known")
        return cls(value)

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that matches ``pattern`` as a whole."""
        return _matching(self.values[name], name, pattern)

    def texts(self, name: str, pattern: re.Pattern[str], *, limit: int) -> tuple[str, ...]:
        """A list of at most ``limit`` such strings, no two the same."""
        value = self.values[name]
        if not isinstance(value, list) or len(value) > limit:
            raise malformed(f"{name} is no list of at most {limit}")
        found = tuple(_matching(item, name, pattern) for item in value)
        if len(set(found)) != len(found):
            raise malformed(f"{name} names something twice")
        return found

    def number(self, name: str, *, low: int, high: int) -> int:
        """An integer in ``low..high``, both included."""
        value = self.values[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise malformed(f"{name} is no integer in {low}..{high}")
        return value


def _matching(value: object, name: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise malformed(f"{name} is not of the agreed form")
    return value
