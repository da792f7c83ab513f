"""Guessing the next tokens of an answer, and a purse for each kind of guess that ends it.

The model runs a guess in one pass with the token it had to run anyway; those that it would have
drawn itself are kept (speculative decoding: Leviathan et al. 2023). Guesses are looked up in what
was read and said, and made by a smaller model where the engine has one: see ``inference.drafting``.

What was guessed changes when tokens come, never which. numpy arrays only, so that they can be
overwritten; ``repr`` shows counts.
"""

from typing import Final

import numpy as np

from inference.drafting import NOTHING, Draft, Ids, PromptLookup, Said

__all__ = ["Purse", "Speculation"]

FIRST_CREDIT: Final = 0.5
WATCHED: Final = 0.1
"""What a right guess earns that nobody paid for: far less than the pass it would have saved."""
FIRST_DRAFT_CREDIT: Final = 1.5
"""Of a model that drafts, which is never watched: to ask it costs time."""
MOST_CREDIT: Final = 4.0
FIRST_SLOPE: Final = 0.4
CHEAPEST: Final = 0.05
DEAREST: Final = 1.0
MEMORY: Final = 1 / 8
DOWN: Final = 1 / 4
UP: Final = 1 / 16
"""How fast the known time of a pass follows: it is that of passes which nothing disturbed."""
DEAREST_AFTER: Final = 0.3
"""Most that the pass after a guess is charged with."""
PLAIN_FIRST: Final = 3
"""Passes of one row before a model that drafts is asked: it has to be cheap beside them."""


class Purse:
    """What guessing may still lose, in passes of one row.

    An answer with nothing to copy takes at most the first credit longer. A kept guess earns the
    pass it saved. While there is too little credit for a row, guesses are only watched; those that
    would have been kept earn a part of it. What a row more costs is measured as the answer grows.
    """

    def __init__(
        self, credit: float = FIRST_CREDIT, *, plain_first: int = 0, dearest: float = DEAREST
    ) -> None:
        """``plain_first``: passes to know before any guess; ``dearest``: most that a row costs."""
        self.credit = credit
        self.slope = FIRST_SLOPE
        """Of a row more, in passes of one row."""
        self._wanted = plain_first
        self._dearest = dearest
        self._pass_s = 0.0
        self._after_a_guess = False

    def affords(self) -> int:
        """Rows of a guess that may be wholly wasted."""
        return 0 if self._wanted > 0 else max(0, int(self.credit / self.slope))

    def plain(self, seconds: float) -> None:
        """A pass of one row took so long.

        After rows, which compute more and read less, memory is slower for some milliseconds: what
        the next pass takes longer is a cost of the guess.
        """
        known = self._pass_s or seconds
        if self._after_a_guess:
            self.credit -= min(max(seconds / known - 1, 0.0), DEAREST_AFTER)
        self._pass_s = known + (DOWN if seconds < known else UP) * (seconds - known)
        self._after_a_guess = False
        self._wanted -= 1

    def guessed(self, rows: int, seconds: float) -> None:
        """A pass of more rows took so long, the guess with it."""
        slope = self.slope
        if self._pass_s > 0:  # a pass that the system held up says little
            slope = (seconds / self._pass_s - 1) / (rows - 1)
            slope = min(max(slope, CHEAPEST), self._dearest)
        self.credit -= slope * (rows - 1)
        self._after_a_guess = True
        self.slope += MEMORY * (slope - self.slope)

    def kept(self) -> None:
        """A token that was guessed for this purse is one of the answer."""
        self.credit = min(MOST_CREDIT, self.credit + 1)

    def watched(self) -> None:
        """The same of a guess that was not run."""
        self.credit = min(MOST_CREDIT, self.credit + WATCHED)


class Speculation:
    """Of one request: what was read and said, the guess that is being tried, and the purses."""

    def __init__(self, prompt: Ids, *, answer: int, rows: int, draft: Draft | None = None) -> None:
        """``answer``: its most tokens; ``rows``: the most of a pass. ``prompt`` is copied.

        ``draft``: asked where there is nothing to look up; ours from now on.
        """
        self.drafted = 0
        self.accepted = 0
        self._rows = rows
        self._said = Said(prompt, room=answer)
        self._guess = NOTHING
        self._watched = NOTHING
        self._sources: list[tuple[Draft, Purse]] = [(PromptLookup(), Purse())]
        if draft is not None:
            purse = Purse(FIRST_DRAFT_CREDIT, plain_first=PLAIN_FIRST, dearest=2 * DEAREST)
            self._sources.append((draft, purse))
        self._paying: Purse | None = None
        self._watching: Purse | None = None
        self._reading = False

    def __repr__(self) -> str:
        return f"<speculation: {self.accepted} of {self.drafted} accepted>"

    def next_ids(self, last: int, room: int) -> Ids:
        """What to run now: ``last``, and a guess of what follows it. At most ``room`` ids.

        The caller overwrites them.
        """
        self._drop_guess()
        self._paying, self._reading = None, False
        self._find_guess(min(self._rows, room) - 1)
        self.drafted += self._guess.size
        ids = np.empty(1 + self._guess.size, np.int32)
        ids[0] = last
        if self._guess.size:
            ids[1:] = self._guess
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
        self._said.add(token)
        if self._watching is not None and self._watched.size and self._watched[0] == token:
            self._watching.watched()
        self._drop_watched()
        if self._paying is not None and self._guess.size and self._guess[0] == token:
            self._paying.kept()
            self.accepted += 1
            self._guess[0] = 0
            self._guess = self._guess[1:]
        else:
            self._drop_guess()

    def wipe(self) -> None:
        """Overwrite every id."""
        self._said.wipe()
        self._drop_guess()
        self._drop_watched()
        for draft, _ in self._sources:
            draft.wipe()

    def _find_guess(self, most: int) -> None:
        """Of the first source that may be asked and knows one; its purse pays."""
        if most < 1:
            return
        for draft, purse in self._sources:
            affords = min(most, purse.affords())
            if not affords:
                if draft.free:
                    self._watched, self._watching = draft.guess(self._said, 1), purse
                continue
            if not draft.ready(self._said):
                self._reading = True
                return
            self._guess = draft.guess(self._said, affords)
            if self._guess.size:
                self._paying = purse
                return

    def _drop_guess(self) -> None:
        if self._guess.size:
            self._guess.fill(0)
            self._guess = NOTHING

    def _drop_watched(self) -> None:
        if self._watched.size:
            self._watched.fill(0)
        self._watched, self._watching = NOTHING, None
