"""Slips of the finger in clean text: one a word, never in its first letter."""

import random
import re
from string import ascii_lowercase
from typing import Final

__all__ = ["mistyped"]

_WORD: Final = re.compile(r"(?<![\w'$-])[a-z]{4,}(?![\w'-])")


def mistyped(text: str, drawn: random.Random, *, most: int) -> str:
    """One to ``most`` words of four small letters or more, drawn, each with one slip."""
    words = list(_WORD.finditer(text))
    chosen = drawn.sample(words, min(drawn.randint(1, most), len(words)))
    for found in sorted(chosen, key=lambda each: -each.start()):
        text = text[: found.start()] + _slip(found[0], drawn) + text[found.end() :]
    return text


def _slip(word: str, drawn: random.Random) -> str:
    """A letter left out, added, changed, or swapped with its neighbour, as likely as each other."""
    while True:
        at, kind = drawn.randrange(1, len(word)), drawn.randrange(4)
        head, tail = word[:at], word[at:]
        made = (
            head + tail[1:],
            head + drawn.choice(ascii_lowercase) + tail,
            head + drawn.choice(ascii_lowercase) + tail[1:],
            head + tail[1:2] + tail[:1] + tail[2:],
        )[kind]
        if made != word:
            return made
