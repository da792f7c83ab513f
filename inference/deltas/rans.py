"""An entropy coder for small symbols whose odds depend on a known context (rANS).

Asymmetric numeral systems by ranges (Duda 2013, arXiv:1311.2540), with many states side by side
(Giesen 2014, arXiv:1402.3392), so that one step of numpy codes a symbol of each lane. A state is a
32-bit number of at least 2^16; it gives and takes words of 16 bits. Odds are parts of 2^12.

Symbols are decoded in the order they were given in, so they are encoded from the last to the first.
Part by part: the contexts of a part may depend on the symbols of those before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decoder", "Encoded", "encode", "odds_of"]

PRECISION: Final = 12
WHOLE: Final = 1 << PRECISION
LOWEST: Final = np.uint32(1 << 16)

Symbols = NDArray[np.uint8]
Contexts = NDArray[np.uint16]
Odds = NDArray[np.uint16]
"""(contexts, symbols): each row's sum is ``WHOLE``, or 0 for a context that never comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """``states``: uint32, (lanes,), where a decoder begins. ``words``: uint16, as it reads them."""

    states: NDArray[np.uint32]
    words: NDArray[np.uint16]


def odds_of(counts: NDArray[np.int64]) -> Odds:
    """Rounded from how often each symbol came, (contexts, symbols): at least 1 for each that did.

    A context in which nothing came gets none.
    """
    total = counts.sum(1, keepdims=True)
    odds = np.maximum(counts * WHOLE // np.maximum(total, 1), counts > 0)
    # What rounding took goes to the likeliest; what it gave comes from those, but for a last part.
    rows = np.flatnonzero(total)
    while (left := WHOLE - odds[rows].sum(1)).any():
        most = odds[rows].argmax(1)
        odds[rows, most] += np.maximum(left, 1 - odds[rows, most])
    whole: Odds = odds.astype(np.uint16)
    return whole


def encode(parts: Sequence[tuple[Symbols, Contexts]], odds: Odds, *, lanes: int) -> Encoded:
    """``parts``: symbols and the context of each, one dimension. Every symbol has odds there."""
    width = odds.shape[1]
    part, start = odds.astype(np.uint32).ravel(), _starts(odds).ravel()
    states = np.full(lanes, LOWEST, np.uint32)
    words: list[NDArray[np.uint16]] = []
    for symbols, contexts in reversed(parts):
        at = contexts.astype(np.int64) * width + symbols
        for first in reversed(range(0, at.size, lanes)):
            step = at[first : first + lanes]
            state, odd = states[: step.size], part[step]
            full = (state >> np.uint32(32 - PRECISION)) >= odd
            words.append(state[full].astype(np.uint16))
            state[full] >>= np.uint32(16)
            state[:] = (state // odd << np.uint32(PRECISION)) + state % odd + start[step]
    read = np.concatenate(words[::-1]) if words else np.zeros(0, np.uint16)
    return Encoded(states=states, words=read)


class Decoder:
    """Gives symbols for contexts, part by part as they were encoded.

    Of bytes that no encoder wrote it gives some symbols or other, and ``done`` is false.
    """

    def __init__(self, encoded: Encoded, odds: Odds) -> None:
        self._width = odds.shape[1]
        self._states = encoded.states.copy()
        # Words that are missing are zeroes: an answer all the same, and a wrong one.
        self._words = np.concatenate([encoded.words, np.zeros(encoded.states.size, np.uint16)])
        self._read, self._most = 0, encoded.words.size
        self._odds, self._start = odds.astype(np.uint32).ravel(), _starts(odds).ravel()
        self._symbol = _symbol_at(odds).ravel()

    @property
    def done(self) -> bool:
        """Whether everything was read, and nothing else."""
        return self._read == self._most and bool((self._states == LOWEST).all())

    def decode(self, contexts: Contexts) -> Symbols:
        found = np.empty(contexts.size, np.uint8)
        lanes = self._states.size
        for first in range(0, contexts.size, lanes):
            found[first : first + lanes] = self._step(contexts[first : first + lanes])
        return found

    def _step(self, contexts: Contexts) -> Symbols:
        state = self._states[: contexts.size]
        slot = state & np.uint32(WHOLE - 1)
        context = contexts.astype(np.int64)
        symbols: Symbols = self._symbol[(context << PRECISION) + slot]
        at = context * self._width + symbols
        state >>= np.uint32(PRECISION)
        state *= self._odds[at]
        state += slot - self._start[at]
        empty = np.flatnonzero(state < LOWEST)
        state[empty] = (state[empty] << np.uint32(16)) | self._next(empty.size)
        return symbols

    def _next(self, count: int) -> NDArray[np.uint16]:
        first = min(self._read, self._most)
        self._read += count
        return self._words[first : first + count]


def _starts(odds: Odds) -> NDArray[np.uint32]:
    """Of each symbol's share of the slots."""
    ends = np.cumsum(odds, axis=1, dtype=np.uint32)
    return ends - odds


def _symbol_at(odds: Odds) -> Symbols:
    """Whose share each slot is, (contexts, WHOLE)."""
    table = np.zeros((len(odds), WHOLE), np.uint8)
    used = odds.any(1)
    numbers = np.arange(odds.shape[1], dtype=np.uint8)
    for row in np.flatnonzero(used):
        table[row] = np.repeat(numbers, odds[row])
    return table
