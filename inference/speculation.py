"""Guessing the next tokens of an answer that copies: prompt lookup, and a purse that ends it.

An answer that repeats what was read or said goes on, more often than not, as that did. So the
tokens behind the longest earlier run that ends as the answer ends are proposed, and the model runs
them in one pass with the token it had to run anyway; those that it would have drawn itself are
kept (speculative decoding: Leviathan et al. 2023; drafts looked up in the prompt: Saxena 2023).

What was guessed changes when tokens come, never which. numpy arrays only, so that they can be
overwritten; ``repr`` shows counts.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Purse", "Speculation"]

Ids = NDArray[np.int32]

SHORTEST_MATCH: Final = 2
LONGEST_MATCH: Final = 8

FIRST_CREDIT: Final = 1.5
INTEREST: Final = 0.02
MOST_CREDIT: Final = 4.0
FIRST_SLOPE: Final = 0.4
SLOPE_BOUNDS: Final = (0.05, 1.0)
MEMORY: Final = 1 / 8


class Purse:
    """What guessing may still lose, in passes of one row.

    It starts with a pass and a half and gets a fiftieth of one for each token, so that an answer
    with nothing to copy takes at most about two in a hundred longer; a kept guess earns the pass it
    saved. What a row more costs is measured as the answer grows.
    """

    def __init__(self) -> None:
        self.credit = FIRST_CREDIT
        self.slope = FIRST_SLOPE
        """Of a row more, in passes of one row."""
        self._pass_s = 0.0

    def affords(self, rows: int) -> bool:
        """Whether a pass of ``rows`` may be wholly wasted."""
        return self.credit >= self.slope * (rows - 1)

    def plain(self, seconds: float) -> None:
        """A pass of one row took so long."""
        before = self._pass_s or seconds
        self._pass_s = before + MEMORY * (seconds - before)

    def guessed(self, rows: int, seconds: float) -> None:
        """A pass of more rows took so long."""
        slope = self.slope
        if self._pass_s > 0:
            low, high = SLOPE_BOUNDS  # a pass that the system held up says little
            slope = min(max((seconds / self._pass_s - 1) / (rows - 1), low), high)
        self.credit -= slope * (rows - 1)
        self.slope += MEMORY * (slope - self.slope)

    def token(self, *, kept: bool) -> None:
        """The answer has a token more; ``kept``: it had been guessed."""
        self.credit = min(MOST_CREDIT, self.credit + INTEREST + kept)


class Speculation:
    """Of one request: what was read and said, the guess that is being tried, and the purse."""

    def __init__(self, prompt: Ids, *, answer: int, rows: int) -> None:
        """``answer``: its most tokens; ``rows``: the most of a pass. ``prompt`` is copied."""
        self.drafted = 0
        self.accepted = 0
        self.purse = Purse()
        self._rows = rows
        self._ids = np.zeros(prompt.size + answer, np.int32)
        self._ids[: prompt.size] = prompt
        self._length = prompt.size
        self._guess = np.zeros(0, np.int32)

    def __repr__(self) -> str:
        return f"<speculation: {self.accepted} of {self.drafted} accepted>"

    def next_ids(self, last: int, room: int) -> Ids:
        """What to run now: ``last``, and a guess of what follows it. At most ``room`` ids.

        The caller overwrites them.
        """
        rows = min(self._rows, room)
        start = self._found() if rows > 1 and self.purse.affords(rows) else self._length
        end = min(start + rows - 1, self._length)
        self._drop_guess()
        self._guess = self._ids[start:end].copy()
        self.drafted += end - start
        ids = np.empty(1 + end - start, np.int32)
        ids[0], ids[1:] = last, self._guess
        return ids

    def took(self, rows: int, seconds: float) -> None:
        """The pass of ``rows`` ids took so long."""
        if rows == 1:
            self.purse.plain(seconds)
        else:
            self.purse.guessed(rows, seconds)

    def add(self, token: int) -> None:
        """The answer goes on with ``token``."""
        self._ids[self._length] = token
        self._length += 1
        kept = self._guess.size > 0 and int(self._guess[0]) == token
        self.accepted += kept
        self.purse.token(kept=kept)
        if kept:
            self._guess[0] = 0
            self._guess = self._guess[1:]
        else:
            self._drop_guess()

    def wipe(self) -> None:
        """Overwrite every id."""
        self._ids.fill(0)
        self._length = 0
        self._drop_guess()

    def _drop_guess(self) -> None:
        self._guess.fill(0)
        self._guess = self._guess[:0]

    def _found(self) -> int:
        """Behind the longest earlier run that ends as the answer does, the latest of them."""
        ids, last = self._ids[: self._length], self._length - 1
        ends = np.flatnonzero(ids[:last] == ids[last])
        for back in range(1, LONGEST_MATCH):
            behind = ends[ends >= back]
            longer = behind[ids[behind - back] == ids[last - back]]
            if not longer.size:
                if back < SHORTEST_MATCH:
                    return self._length
                break
            ends = longer
        return int(ends[-1]) + 1 if ends.size else self._length
