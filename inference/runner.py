"""The model, as far as the scheduler sees it: room for a request, and the next prediction."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prediction", "Runner", "Slot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What comes after the last id of a piece. The arrays belong to the caller."""

    logits: NDArray[np.float32]  # (vocabulary,)
    hidden: NDArray[np.float32]  # (width,)


class Slot(Protocol):
    """One request's place in the model: its cache."""

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        """Append ``ids``, shape (n,), n ≥ 1. Raises ``EngineError`` or ``MemoryError``."""

    def wipe(self) -> None:
        """Overwrite the cache with zeroes and let go of it."""


class Runner(Protocol):
    """The model, as far as the scheduler sees it."""

    def begin(self, prompt: int, answer: int) -> Slot:
        """A cache for so many tokens. Raises ``LanaiError`` or ``MemoryError``."""
