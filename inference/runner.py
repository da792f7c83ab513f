"""The model, as far as the scheduler sees it: room for a request, and the next prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prediction", "RewindingSlot", "Runner", "Slot", "step_alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What comes after the last id of a piece. The arrays belong to the caller."""

    logits: NDArray[np.float32]  # (vocabulary,)
    hidden: NDArray[np.float32]  # (width,); (0,) of ``forward_each``


class Slot(Protocol):
    """One request's place in the model: its cache."""

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        """Append ``ids``, shape (n,), n ≥ 1. Raises ``EngineError`` or ``MemoryError``."""

    def wipe(self) -> None:
        """Overwrite the cache with zeroes and let go of it."""


@runtime_checkable
class RewindingSlot(Slot, Protocol):
    """A slot that can try ids and take them back."""

    @property
    def most_rows(self) -> int:
        """How many ids ``forward_each`` takes; 1 where more would not be exact."""

    def forward_each(self, ids: NDArray[np.int32]) -> list[Prediction]:
        """Append ``ids`` and predict what follows each: as ``forward`` of one after the other.

        To the last bit. Raises as ``forward`` does.
        """

    def take_back(self, count: int) -> None:
        """Forget the last ``count`` ids: nothing that follows depends on them."""


class Runner(Protocol):
    """The model, as far as the scheduler sees it."""

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> Slot:
        """A cache for so many tokens, the model changed by ``adapter`` for them.

        Raises ``LanaiError``, of it ``AdapterError``, or ``MemoryError``.
        """

    def step(self, slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
        """Append ``ids[i]`` to each of its own slots, n ≥ 1, and predict what follows each.

        The same as ``forward`` of each alone, up to rounding, and no prediction depends on what
        another slot holds. Raises ``EngineError`` or ``MemoryError`` for all of them.
        """


def step_alone(slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
    """``Runner.step`` of a runner that has nothing to gain from rows side by side."""
    return [slot.forward(ids[row : row + 1]) for row, slot in enumerate(slots)]
