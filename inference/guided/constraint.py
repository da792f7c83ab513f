"""A compiled grammar as the engine's ``Constraint``: which tokens may come next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = ["GrammarConstraint"]


class GrammarConstraint:
    """One answer's grammar. Never gives an empty mask: where nothing may follow, the stop ids may.

    That is so at the end of a grammar, and also where a grammar became too costly to follow or the
    engine reports a token that was not allowed: the answer then ends, and is not complete.
    """

    def __init__(self, matcher: "LLMatcher", *, vocabulary: int, stop_ids: frozenset[int]) -> None:
        """``vocabulary`` is the engine's; ids of the matcher's beyond it are left out."""
        self._matcher = matcher
        self._words = -(-vocabulary // 32)
        self._stops = stop_mask(stop_ids, vocabulary)
        self._taken: list[int] = []
        self._failed = False

    def __repr__(self) -> str:
        return f"<grammar constraint: {len(self._taken)} tokens>"

    def completed_by(self, generated: Sequence[int]) -> bool:
        """Whether the answer may end after these tokens."""
        self._follow(generated)
        return not self._failed and self._matcher.is_accepting()

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32]:
        """See ``Constraint.allowed``. Also follows a caller that goes back to an earlier point."""
        self._follow(generated)
        if self._failed or self._matcher.is_stopped():
            return self._stops.copy()
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype="<u4").astype(np.uint32)
        if self._matcher.is_error():
            self._failed = True
            return self._stops.copy()
        fitted = np.zeros(self._words, dtype=np.uint32)
        shared = min(self._words, mask.size)
        fitted[:shared] = mask[:shared]
        return fitted if fitted.any() else self._stops.copy()

    def _follow(self, generated: Sequence[int]) -> None:
        if self._failed:
            return
        kept = self._kept(generated)
        if kept < len(self._taken):
            self._failed = not self._matcher.rollback(len(self._taken) - kept)
            del self._taken[kept:]
        for token in generated[kept:]:
            self._failed = self._failed or not self._matcher.consume_token(token)
            self._taken.append(token)

    def _kept(self, generated: Sequence[int]) -> int:
        """How many of the tokens taken so far still stand."""
        taken = self._taken
        if len(generated) >= len(taken) and list(generated[: len(taken)]) == taken:
            return len(taken)
        pairs = zip(taken, generated, strict=False)
        return next((at for at, (old, new) in enumerate(pairs) if old != new), len(generated))


def stop_mask(stop_ids: frozenset[int], vocabulary: int) -> NDArray[np.uint32]:
    """The bitmask of the stop ids alone."""
    mask = np.zeros(-(-vocabulary // 32), dtype=np.uint32)
    for token in stop_ids:
        if token < vocabulary:
            mask[token // 32] |= np.uint32(1 << (token % 32))
    return mask
