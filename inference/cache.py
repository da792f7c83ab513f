"""Keys and values of one sequence. Derived from user content: wiped as soon as a request ends."""

import copy

import torch
from torch import Tensor

from lanai.errors import ContextOverflow

__all__ = ["Cache", "require_room"]


class Cache:
    """Room for ``capacity`` tokens; ``keys[i]``, ``values[i]``: (kv_heads, capacity, head width).

    ``repr`` shows sizes only.
    """

    def __init__(
        self, shapes: list[tuple[int, int]], capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """``shapes``: (kv_heads, head width) of each layer."""
        self.capacity = capacity
        self.length = 0
        self.keys, self.values = (
            [
                torch.zeros(heads, capacity, width, dtype=dtype, device=device)
                for heads, width in shapes
            ]
            for _ in range(2)
        )

    def __repr__(self) -> str:
        return f"<cache: {self.length} of {self.capacity} tokens>"

    def reserve(self, count: int) -> None:
        """Raises ``ContextOverflow`` when ``count`` more tokens do not fit."""
        require_room(self.length + count, self.capacity)

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write new tokens' rows, (kv_heads, n, head width); ``length`` moves with ``advance``."""
        end = self.length + keys.shape[1]
        self.keys[layer][:, self.length : end] = keys
        self.values[layer][:, self.length : end] = values

    def advance(self, count: int) -> None:
        self.length += count

    def take_back(self, count: int) -> None:
        """Forget the last ``count`` tokens. What is behind ``length`` is never looked at."""
        self.length -= count

    def after(self, count: int) -> "Cache":
        """The same rows, as a sequence that is ``count`` tokens further."""
        further = copy.copy(self)
        further.length += count
        return further

    def wipe(self) -> None:
        """Overwrite every row with zeros and start anew."""
        for rows in (*self.keys, *self.values):
            rows.zero_()
        self.length = 0


def require_room(used: int, capacity: int) -> None:
    """Raises ``ContextOverflow`` when ``used`` tokens do not fit a cache of ``capacity``."""
    if used > capacity:
        raise ContextOverflow(
            "the sequence does not fit the context",
            limit=capacity,
            used=used,
            hint="shorten the conversation or ask for a larger context",
        )
