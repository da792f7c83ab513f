"""A prompt as hashed words and pairs of words: no model is asked, and none has to be there.

Pairs also leap over one word, so that "kill my time" and "kill my wife" share less than they seem
to. Runs of characters, as the router's text features have them, found no more harm on the shared
sets and refused more good prompts.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUCKETS", "WINDOW", "hashed", "windows"]

BUCKETS: Final = 4096
WINDOW: Final = 60
"""Words that are judged at once: in a long text what is asked would else be lost among the rest."""
STEP: Final = 30
_PIECE: Final = re.compile(r"[^\W\d_]+(?:'[a-z]+)?|\d+|[?!]")


def hashed(text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Buckets, each once, and signed log counts (feature hashing, arXiv:0902.2206)."""
    row: dict[int, float] = {}
    for gram, count in Counter(_grams(_PIECE.findall(text.lower()))).items():
        code = zlib.crc32(gram.encode("utf-8", "replace"))
        signed = (1.0 if code >> 31 else -1.0) * (1.0 + float(np.log(count)))
        row[code % BUCKETS] = row.get(code % BUCKETS, 0.0) + signed
    buckets = np.fromiter(row.keys(), dtype=np.int64, count=len(row))
    return buckets, np.fromiter(row.values(), dtype=np.float64, count=len(row))


def windows(text: str) -> Iterator[str]:
    """The text itself where it is short, else stretches of it that overlap."""
    words = text.split()
    if len(words) <= WINDOW:
        yield text
        return
    for start in range(0, len(words) - STEP, STEP):
        yield " ".join(words[start : start + WINDOW])


def _grams(pieces: list[str]) -> Iterator[str]:
    yield from pieces
    for first, second in pairwise(pieces):
        yield f"{first} {second}"
    for first, third in zip(pieces, pieces[2:], strict=False):
        yield f"{first} _ {third}"
    if pieces:
        yield "^ " + " ".join(pieces[:2])
