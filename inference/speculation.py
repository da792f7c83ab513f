"""Guessing the next tokens of an answer, and a purse for each kind of guess that ends it.

The model runs a guess in one pass with the token it had to run anyway; those that it would have
drawn itself are kept (speculative decoding: Leviathan et al. 2023). Guesses are looked up in what
was read and said, and made by a smaller model where the engine has one: see ``inference.drafting``.

What was guessed changes when tokens come, never which. numpy arrays only, so that they can be
overwritten; ``repr`` shows counts.
"""

from typing import Final

import numpy as np

from inference.drafting import Draft, Ids, PromptLookup

__all__ = ["Purse", "Speculation"]

FIRST_CREDIT: Final = 1.5
INTEREST: Final = 0.02
MOST_CREDIT: Final = 4.0
FIRST_SLOPE: Final = 0.4
CHEAPEST: Final = 0.05
DEAREST: Final = 1.0
MEMORY: Final = 1 / 8
PLAIN_FIRST: Final = 3
"""Passes of one row before a model that drafts is asked: it has to be cheap beside them."""


class Purse:
    """What guessing may still lose, in passes of one row.

    It starts with a pass and a half and gets a fiftieth of one for each token, so that an answer
    with nothing to copy takes at most about two in a hundred longer; a kept guess earns the pass it
    saved. What a row more costs is measured as the answer grows.
    """

    def __init__(
        self, *, interest: float = INTEREST, plain_first: int = 0, dearest: float = DEAREST
    ) -> None:
        """``plain_first``: passes to know before any guess; ``dearest``: most that a row costs."""
        self.credit = FIRST_CREDIT
        self.slope = FIRST_SLOPE
        """Of a row more, in passes of one row."""
        self._interest = interest
        self._wanted = plain_first
        self._dearest = dearest
        self._pass_s = 0.0

    def affords(self, rows: int) -> bool:
        """Whether a pass of ``rows`` may be wholly wasted."""
        return self._wanted <= 0 and self.credit >= self.slope * (rows - 1)

    def plain(self, seconds: float) -> None:
        """A pass of one row took so long."""
        before = self._pass_s or seconds
        self._pass_s = before + MEMORY * (seconds - before)
        self._wanted -= 1

    def guessed(self, rows: int, seconds: float) -> None:
        """A pass of more rows took so long, the guess with it."""
        slope = self.slope
        if self._pass_s > 0:  # a pass that the system held up says little
            slope = (seconds / self._pass_s - 1) / (rows - 1)
            slope = min(max(slope, CHEAPEST), self._dearest)
        self.credit -= slope * (rows - 1)
        self.slope += MEMORY * (slope - self.slope)

    def token(self, *, kept: bool) -> None:
        """The answer has a token more; ``kept``: it had been guessed, for this purse."""
        self.credit = min(MOST_CREDIT, self.credit + self._interest + kept)


class Speculation:
    """Of one request: what was read and said, the guess that is being tried, and the purses."""

    def __init__(self, prompt: Ids, *, answer: int, rows: int, draft: Draft | None = None) -> None:
        """``answer``: its most tokens; ``rows``: the most of a pass. ``prompt`` is copied.

        ``draft``: asked where there is nothing to look up; ours from now on.
        """
        self.drafted = 0
        self.accepted = 0
        self._rows = rows
        self._ids = np.zeros(prompt.size + answer, np.int32)
        self._ids[: prompt.size] = prompt
        self._length = prompt.size
        self._guess = np.zeros(0, np.int32)
        self._sources: list[tuple[Draft, Purse]] = [(PromptLookup(), Purse())]
        if draft is not None:
            # No interest: who has guessed wrong for long is asked no more.
            purse = Purse(interest=0.0, plain_first=PLAIN_FIRST, dearest=2 * DEAREST)
            self._sources.append((draft, purse))
        self._paying: Purse | None = None
        self._reading = False

    def __repr__(self) -> str:
        return f"<speculation: {self.accepted} of {self.drafted} accepted>"

    def next_ids(self, last: int, room: int) -> Ids:
        """What to run now: ``last``, and a guess of what follows it. At most ``room`` ids.

        The caller overwrites them.
        """
        self._drop_guess()
        self._paying, self._reading = None, False
        self._find_guess(min(self._rows, room))
        self.drafted += self._guess.size
        ids = np.empty(1 + self._guess.size, np.int32)
        ids[0], ids[1:] = last, self._guess
        return ids

    def took(self, rows: int, seconds: float) -> None:
        """The pass of ``rows`` ids took so long, finding the guess included."""
        if self._paying is not None:
            self._paying.guessed(rows, seconds)
        elif not self._reading:  # whose time says nothing of a pass
            for _, purse in self._sources:
                purse.plain(seconds)

    def add(self, token: int) -> None:
        """The answer goes on with ``token``."""
        self._ids[self._length] = token
        self._length += 1
        kept = self._guess.size > 0 and int(self._guess[0]) == token
        self.accepted += kept
        for _, purse in self._sources:
            purse.token(kept=kept and purse is self._paying)
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
        for draft, _ in self._sources:
            draft.wipe()

    def _find_guess(self, rows: int) -> None:
        """Of the first source that may be asked and knows one; its purse pays."""
        ids = self._ids[: self._length]
        for draft, purse in self._sources:
            if rows < 2 or not purse.affords(rows):
                continue
            if not draft.ready(ids):
                self._reading = True
                return
            self._guess = draft.guess(ids, rows - 1)
            if self._guess.size:
                self._paying = purse
                return

    def _drop_guess(self) -> None:
        self._guess.fill(0)
        self._guess = self._guess[:0]
