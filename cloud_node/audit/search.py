"""Finds many needles in one pass over bytes, at a speed that does not depend on how many they are.

A needle of 23 bytes or more covers two whole aligned 8-byte words wherever it lies, so at one of
eight phases these two words are known. The pass hashes each word of the haystack (a product),
looks the hash up in a table of 2^16 bytes or more, and keeps places where a first word is followed
by a second one; only those are compared byte by byte. About 2 GB/s on one core.

CPython's ints are found in the same way: their digits stand 32 bytes apart, so that two columns of
every eighth 32-bit word are haystacks of their own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud_node.audit.marks import COMMON, OWN
from cloud_node.audit.needles import SHORTEST, Needle
from lanai.errors import UsageError

__all__ = ["ALIGNMENT", "Hit", "Searcher"]

WORD: Final = 8
ALIGNMENT: Final = 32
"""Haystacks begin at a multiple of this, as addresses count: the step between Python's ints."""
BLOCK: Final = 1 << 17
"""Words worked on at once: their hashes stay in the second-level cache."""
FIRST, SECOND = 1, 2
LONGEST_MARK: Final = 4 * (2 * OWN + COMMON)
DIGIT_COLUMNS: Final = (2, 6)
"""Of eight 32-bit words: blocks are aligned to 16, and the digit is 24 bytes into one."""
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Hit:
    """``start`` is a byte's place in the haystack; ``needle`` its number."""

    start: int
    needle: int


class Searcher:
    """Knows the needles. ``search`` may be called again and again, with pieces that overlap."""

    def __init__(
        self, needles: Sequence[Needle], label: Callable[..., str | None] = lambda *_: None
    ) -> None:
        """``label`` names a mark by letters that stood beside its common part."""
        if any(len(needle.data) < SHORTEST for needle in needles):
            raise UsageError(f"a needle has at least {SHORTEST} bytes")
        self.needles = tuple(needles)
        self._label = label
        self._plain = _Index((i, n.data) for i, n in enumerate(needles) if not n.columns)
        self._columns = _Index((i, n.data) for i, n in enumerate(needles) if n.columns)

    @property
    def overlap(self) -> int:
        """Bytes that two neighbouring pieces share, so that nothing hides in the seam."""
        widest = [len(n.data) * (WORD if n.columns else 1) for n in self.needles]
        # A whole mark in the widest letters as well, so that it can be named.
        return max([LONGEST_MARK, *widest]) // ALIGNMENT * ALIGNMENT + 2 * ALIGNMENT

    def search(self, haystack: bytes | bytearray | memoryview) -> set[Hit]:
        """Every place of every needle."""
        view = memoryview(haystack)
        hits = set(self._plain.find(view))
        if self._columns:
            whole = np.frombuffer(view[: len(view) // ALIGNMENT * ALIGNMENT], dtype="<u4")
            for column in DIGIT_COLUMNS:
                digits = memoryview(whole[column::WORD].tobytes())
                hits |= {
                    Hit(start=WORD * hit.start + 4 * column, needle=hit.needle)
                    for hit in self._columns.find(digits)
                }
        return hits

    def label(self, haystack: memoryview, hit: Hit) -> str | None:
        """Which mark a hit belongs to, when its letters still stand beside it."""
        needle = self.needles[hit.needle]
        if not needle.encoding:
            return None
        width = len("a".encode(needle.encoding))
        start = hit.start - needle.before
        end = start + COMMON * width
        beside = (haystack[max(0, start - OWN * width) : max(0, start)], haystack[end:])
        texts = (bytes(each[: OWN * width]).decode(needle.encoding, "replace") for each in beside)
        return self._label(*texts)


class _Index:
    """Numbered patterns by the two words that each phase of them covers."""

    def __init__(self, patterns: Iterable[tuple[int, bytes]]) -> None:
        self._patterns = dict(patterns)
        self._places = defaultdict[tuple[int, int], list[tuple[int, int]]](list)
        for number, data in self._patterns.items():
            for phase in range(WORD):
                pair = np.frombuffer(data, dtype="<u8", count=2, offset=phase).tolist()
                self._places[pair[0], pair[1]].append((number, phase))
        firsts, seconds = ({pair[i] for pair in self._places} for i in range(2))
        self._shift, self._table = _table(firsts, seconds)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def find(self, view: memoryview) -> Iterator[Hit]:
        """Every hit; ``start`` counts bytes of ``view``."""
        words = np.frombuffer(view[: len(view) // WORD * WORD], dtype="<u8")
        for index in self._candidates(words):
            pair = int(words[index]), int(words[index + 1])
            for number, phase in self._places.get(pair, ()):
                start, data = index * WORD - phase, self._patterns[number]
                if start >= 0 and view[start : start + len(data)] == data:
                    yield Hit(start=start, needle=number)

    def _candidates(self, words: _Words) -> Iterator[int]:
        """Indexes of words whose hash is some first word's, before some second word's."""
        hashes = np.empty(BLOCK + 1, dtype=np.uint64)
        for begin in range(0, len(words), BLOCK):
            block = words[begin : begin + BLOCK + 1]  # the next block's first word is a second one
            hashed = hashes[: len(block)]
            np.multiply(block, _MULTIPLIER, out=hashed)
            np.right_shift(hashed, self._shift, out=hashed)
            kinds = self._table[hashed.view(np.int64)]
            if kinds.any():
                both = kinds[1:] >> 1
                both &= kinds[:-1]
                # 0 or 1 each, and as truth values they are gone through eight at a time.
                yield from (np.flatnonzero(both.view(np.bool_)) + begin).tolist()


def _table(firsts: set[int], seconds: set[int]) -> tuple[np.uint64, NDArray[np.uint8]]:
    """Hash table of word kinds, sparse enough that few words of a haystack are looked at twice."""
    bits = max(16, (16 * (len(firsts) + len(seconds))).bit_length())
    shift = np.uint64(64 - bits)
    table = np.zeros(1 << bits, dtype=np.uint8)
    for kind, words in ((FIRST, firsts), (SECOND, seconds)):
        values = np.fromiter(words, dtype=np.uint64, count=len(words))
        table[((values * _MULTIPLIER) >> shift).view(np.int64)] |= kind
    return shift, table
