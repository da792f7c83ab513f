"""Words that look misspelled, and what they may have been, by the model's own vocabulary.

A byte-pair vocabulary holds the frequent words of its language whole. A word that it does not hold,
one slip of the finger away from one that it does, is worth a question; which word was meant only
its sentence can tell. One slip: a letter left out, added, changed, or swapped with its neighbour
(Damerau 1964, https://doi.org/10.1145/363958.363994).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from string import ascii_lowercase
from typing import Final, Protocol

__all__ = ["Doubt", "doubts", "slips"]

MOST_CANDIDATES: Final = 12
SHORTEST: Final = 4
LONGEST: Final = 24
_WORD: Final = re.compile(r"(?<![\w@#./'’-])[A-Za-z][a-z]+(?![\w@/'’-])")


class Encoder(Protocol):
    """What is needed of a ``TextModel``."""

    def encode(self, text: str) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """``text[start:end]`` may be misspelled; ``candidates`` begin with a capital where it does."""

    start: int
    end: int
    candidates: tuple[str, ...] = field(repr=False)


def doubts(text: str, encoder: Encoder) -> Iterator[Doubt]:
    """In order. A capitalized word in a sentence is a name, and is left alone."""
    known = partial(_known, encoder)
    for found in _WORD.finditer(text):
        word = found[0]
        if not SHORTEST <= len(word) <= LONGEST or (word[0].isupper() and not _begins(text, found)):
            continue
        if known(word.lower()) or known(word):
            continue
        if near := _near(word.lower(), known):
            fitted = tuple(each.capitalize() if word[0].isupper() else each for each in near)
            yield Doubt(start=found.start(), end=found.end(), candidates=fitted)


def slips(word: str) -> Iterator[str]:
    """All that one slip makes of a word of small letters, some more than once."""
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        yield from (head + letter + tail for letter in ascii_lowercase)
        if tail:
            yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in ascii_lowercase)
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]


def _near(word: str, known: Callable[[str], bool]) -> list[str]:
    """Known words one slip away that begin alike: the first letter is seldom the wrong one."""
    made = {each for each in slips(word) if each[:1] == word[0] and len(each) >= SHORTEST - 1}
    return sorted(each for each in made - {word} if known(each))[:MOST_CANDIDATES]


def _known(encoder: Encoder, word: str) -> bool:
    return len(encoder.encode(f" {word}")) == 1


def _begins(text: str, found: re.Match[str]) -> bool:
    """A sentence or a line."""
    before = text[: found.start()].rstrip(" \t\"'(")
    return not before or before[-1] in ".!?:\n"
