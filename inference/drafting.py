"""Where guesses of an answer's next tokens come from: what was read or said, or a smaller model.

An answer that repeats what was read or said goes on, more often than not, as that did: the tokens
behind the longest earlier run that ends as the answer ends are a guess (Saxena 2023). Everywhere
else a smaller model of the same tokens can say what it would go on with (Leviathan et al. 2023).

A guess is verified by the model itself, so how it was made can cost time, never a token. Ids and
predictions are content: they are overwritten.
"""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.runner import RewindingSlot

__all__ = ["Draft", "DraftModel", "Ids", "PromptLookup", "Said"]

Ids = NDArray[np.int32]

ID_BYTES: Final = 4
NOTHING: Final = np.zeros(0, np.int32)
SHORTEST_MATCH: Final = 2
LONGEST_MATCH: Final = 8
PIECE: Final = 256
"""Ids the smaller model reads between two tokens of the answer, until it has read all."""
FEW: Final = 8
"""Ids it reads on the way to a guess."""


class Said:
    """What was read and said: ids, as an array and as bytes of the same memory."""

    def __init__(self, prompt: Ids, *, room: int) -> None:
        """``prompt`` is copied; ``room``: for how many ids more."""
        self.bytes = bytearray((prompt.size + room) * ID_BYTES)
        self._all: Ids = np.frombuffer(self.bytes, np.int32)
        self._all[: prompt.size] = prompt
        self.length = prompt.size

    def __repr__(self) -> str:
        return f"<said: {self.length} ids>"

    @property
    def ids(self) -> Ids:
        return self._all[: self.length]

    def add(self, token: int) -> None:
        self._all[self.length] = token
        self.length += 1

    def wipe(self) -> None:
        """Overwrite every id."""
        self._all.fill(0)
        self.length = 0


class Draft(Protocol):
    """One request's source of guesses."""

    free: bool
    """Whether a guess costs next to nothing, so that it can be made only to be watched."""

    def ready(self, said: Said) -> bool:
        """Whether a guess is a matter of moments; where not, a piece of it is read instead."""

    def guess(self, said: Said, most: int) -> Ids:
        """What may follow: up to ``most`` ids, the caller's to overwrite."""

    def wipe(self) -> None:
        """Overwrite every id."""


class PromptLookup:
    """A ``Draft`` that copies: it holds nothing of its own."""

    free = True

    def ready(self, said: Said) -> bool:
        return True

    def guess(self, said: Said, most: int) -> Ids:
        start = _behind_the_longest_run(said)
        return NOTHING if start == said.length else said.ids[start : start + most].copy()

    def wipe(self) -> None:
        pass


class DraftModel:
    """A ``Draft`` that asks a smaller model for its likeliest token, one after the other."""

    free = False

    def __init__(self, slot: RewindingSlot, *, room: int) -> None:
        """``slot``: of the smaller model, with ``room`` for prompt and answer; ours from now on."""
        self._slot = slot
        self._read = np.zeros(room, np.int32)
        self._length = 0

    def __repr__(self) -> str:
        return f"<draft model: {self._length} of {self._read.size} ids read>"

    def ready(self, said: Said) -> bool:
        ids = said.ids
        self._go_back_to(ids[:-1])
        unread = ids[self._length : -1]
        if unread.size <= FEW:
            return True
        self._next(unread[:PIECE])
        return False

    def guess(self, said: Said, most: int) -> Ids:
        ids = said.ids
        self._go_back_to(ids[:-1])  # the last is read: its prediction is wanted
        found = np.zeros(most, np.int32)
        new = ids[self._length :]
        for at in range(most):
            found[at] = self._next(new)
            new = found[at : at + 1]
        return found

    def wipe(self) -> None:
        self._slot.wipe()
        self._read.fill(0)
        self._length = 0

    def _go_back_to(self, ids: Ids) -> None:
        """Take back what was guessed and is not what followed."""
        length = min(self._length, ids.size)
        differs = np.flatnonzero(self._read[:length] != ids[:length])
        kept = int(differs[0]) if differs.size else length
        if kept < self._length:
            self._slot.take_back(self._length - kept)
            self._read[kept : self._length] = 0
            self._length = kept

    def _next(self, ids: Ids) -> int:
        """Read ``ids``, one at least; the likeliest behind them."""
        logits = self._slot.forward(ids).logits
        token = int(logits.argmax())
        logits.fill(0)
        self._read[self._length : self._length + ids.size] = ids
        self._length += ids.size
        return token


def _behind_the_longest_run(said: Said) -> int:
    """Behind the longest earlier run that ends as it all ends, the latest of them; else the end.

    As bytes: between two passes the code of numpy's calls is gone from the processor's caches, and
    a dozen of them took one to three hundredths of a token's time; these few take two thousandths.
    """
    behind = said.length
    for length in range(SHORTEST_MATCH, min(LONGEST_MATCH, said.length - 1) + 1):
        at = _latest(said.bytes, said.length * ID_BYTES, length * ID_BYTES)
        if at < 0:
            break
        behind = at // ID_BYTES + length
    return behind


def _latest(said: bytearray, end: int, size: int) -> int:
    """Where the last ``size`` bytes before ``end`` stood before, in whole ids; -1: nowhere."""
    wanted = said[end - size : end]
    at = said.rfind(wanted, 0, end - ID_BYTES)
    while at > 0 and at % ID_BYTES:
        at = said.rfind(wanted, 0, at + size - 1)
    wanted[:] = bytes(size)
    return at
