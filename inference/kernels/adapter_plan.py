"""An adapter as the kernels run it: both halves in 8 bits, one scale for each row.

Rounding so costs about one percent of the change itself; an adapter stored in 8 bits is already
rounded that way and loses nothing.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.adapters.adapter import Adapter, LowRank
from inference.adapters.rounding import to_int8_rows
from inference.formats.packed_matrix import (
    PLAIN_BITS,
    TILE,
    pack_codes,
    tiles,
    to_bfloat16,
)
from inference.kernels import structures
from inference.kernels.binding import aligned
from lanai.errors import UsageError

__all__ = ["AdapterPlan", "Lifting"]


class AdapterPlan:
    """The structures of one adapter, and what they point to. ``bytes``: of all of that."""

    def __init__(self, adapter: Adapter, *, layers: int, group: int) -> None:
        self.name = adapter.name
        self._kept: list[NDArray[Any]] = []
        self._group = group
        self.layers = (structures.AdapterLayer * layers)()
        for name, pair in adapter.matrices.items():
            _, layer, part = name.split(".")
            setattr(self.layers[int(layer)], part, self._low_rank(pair, adapter.scale))
        self.stride = tiles(adapter.rank) * TILE
        self.bytes = sum(array.nbytes for array in self._kept) + ctypes.sizeof(self.layers)

    def __repr__(self) -> str:
        return f"<adapter for the kernels: {self.bytes} bytes>"

    def _low_rank(self, pair: LowRank, scale: float) -> structures.LowRank:
        rank, columns = pair.a.shape
        codes, steps = to_int8_rows(pair.a)
        rows = tiles(rank) * TILE
        inner = structures.Matrix(
            codes=self._held(pack_codes(codes.view(np.uint8), PLAIN_BITS, self._group)),
            row_scale=self._held(np.pad(to_bfloat16(steps), (0, rows - rank))),
            rows=rows,
            columns=columns,
            bits=PLAIN_BITS,
        )
        codes, steps = to_int8_rows(pair.b)
        padding = tiles(len(codes)) * TILE - len(codes)
        by_tile = np.pad(codes, ((0, padding), (0, 0))).reshape(-1, TILE, rank).transpose(0, 2, 1)
        return structures.LowRank(
            a=inner,
            b=self._held(by_tile),
            b_scale=self._held(np.pad(steps * np.float32(scale), (0, padding))),
            rank=rank,
        )

    def _held(self, array: NDArray[Any]) -> int:
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return int(array.ctypes.data)


class Lifting:
    """Room for ``A x`` of the adapters of a pass, and the argument the kernels take."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self.room = aligned(0)
        self._of: tuple[AdapterPlan, ...] = ()
        self._argument: structures.Adapters | None = None

    def argument(self, plans: Sequence[AdapterPlan]) -> structures.Adapters | None:
        """What a pass of the kernels takes; ``None`` for no adapter. The same plans, the same."""
        if len(plans) > structures.MOST_ADAPTERS:
            raise UsageError(f"at most {structures.MOST_ADAPTERS} adapters run at once")
        if tuple(plans) != self._of:
            self._of = tuple(plans)
            self._argument = self._made(self._of) if self._of else None
        return self._argument

    def wipe(self) -> None:
        """Overwrite what the last pass left."""
        self.room.fill(0)

    def _made(self, plans: tuple[AdapterPlan, ...]) -> structures.Adapters:
        stride = max(plan.stride for plan in plans)
        needed = 4 * structures.MOST_PRODUCTS * len(plans) * self._max_rows * stride
        if self.room.nbytes < needed:
            self.wipe()
            self.room = aligned(needed)
        layers = [
            ctypes.cast(plan.layers, ctypes.POINTER(structures.AdapterLayer)) for plan in plans
        ]
        of = (ctypes.POINTER(structures.AdapterLayer) * structures.MOST_ADAPTERS)(*layers)
        return structures.Adapters(
            layers=of, inner=self.room.ctypes.data, count=len(plans), stride=stride
        )
