"""What differs between a text and its correction: places counted here, never by a model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from lanai.content import Content

__all__ = ["Change", "changes"]

_WORD: Final = re.compile(r"\w+(?:['’]\w+)*|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """``original`` is ``text[start:end]`` of the given text, in code points; empty to insert.

    ``replacement`` is empty to delete. Applied from the last to the first, places stay right.
    """

    start: int
    end: int
    original: Content
    replacement: Content


def changes(text: str, corrected: str) -> tuple[Change, ...]:
    """By words: each word, run of white space or sign is one unit. In order, none overlap."""
    old, new = _WORD.findall(text), _WORD.findall(corrected)
    places = [0]
    for unit in old:
        places.append(places[-1] + len(unit))
    return tuple(_differing(text, old, new, places))


def _differing(text: str, old: list[str], new: list[str], places: list[int]) -> Iterator[Change]:
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        start, end = places[a], places[b]
        yield Change(
            start=start,
            end=end,
            original=Content(text[start:end]),
            replacement=Content("".join(new[c:d])),
        )
