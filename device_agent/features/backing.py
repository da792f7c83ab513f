"""Whether a text backs what is said of it, as far as that can be counted.

A small model that is given a short note answers it, or tells a story of its own; it writes names
and numbers that are not there. A sentence that only retells uses the words of what it retells.
"""

import re
from collections.abc import Sequence
from typing import Final

from device_agent.features.pieces import sentences
from device_agent.features.rewriting import facts

__all__ = ["backed", "beginning", "is_short"]

LEAST: Final = 0.5
"""Of a sentence's longer words, in the text. Of the sentences that people wrote of abstracts, nine
in ten have as many."""
LEAST_OF_SHORT: Final = 0.7
SHORT: Final = 60
"""Words. There is little in a note to put in other words: what has them tells something else."""
MOST_WORDS: Final = 60
"""Of one sentence of the text that is quoted; a line without a full stop may be any length."""
_LONGER_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_STEM: Final = 4
"""Letters by which ``comes`` and ``coming`` are one word."""


def backed(said: str, text: str) -> bool:
    """False for a fact (number, name, address) the text lacks, or words of which it has too few."""
    if any(fact.lower() not in text.lower() for fact in facts(said)):
        return False
    stems, known = _stems(said), frozenset(_stems(text))
    least = LEAST_OF_SHORT if is_short(text) else LEAST
    return sum(stem in known for stem in stems) >= least * len(stems)


def is_short(text: str) -> bool:
    """A note or a message: what a small model would answer."""
    return len(text.split()) <= SHORT


def beginning(text: str, *, most: int) -> list[str]:
    """The text's own first sentences: ``most`` at most, and no more than half of it but one."""
    own = [text[a:b] for a, b in sentences(text)]
    room, taken = len(text.split()) // 2, list[str]()
    for each in own[:most]:
        if taken and sum(len(t.split()) for t in (*taken, each)) > room:
            break
        taken.append(_cut(each))
    return taken


def _cut(sentence: str) -> str:
    words = sentence.split()
    return sentence if len(words) <= MOST_WORDS else " ".join([*words[:MOST_WORDS], "…"])


def _stems(text: str) -> Sequence[str]:
    return [word[:_STEM] for word in _LONGER_WORD.findall(text.lower())]
