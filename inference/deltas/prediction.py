"""What a source's weights say about the packed matrix made of them, and how surely.

Rounding finds a code near where the weight lies on the group's grid; what compensates errors, and
training, move it by one now and then, the sooner the nearer the weight lies to the boundary. So the
weight's place between two boundaries is a code's context, and so is its column: the inputs of some
are moved more than those of others.

Elementwise arithmetic of float32 and float64 only, each operation by itself, so that every machine
gets the same bits. Arrays are padded as packed ones are: rows to 16, columns to a group.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.formats.packed_matrix import TILE, padded_columns, tiles
from inference.matrix import GridMatrix, Matrix

__all__ = [
    "BITS",
    "CODE_CONTEXTS",
    "COLUMN_CLASSES",
    "OFFSET_CONTEXTS",
    "SCALE_CONTEXTS",
    "Predictor",
    "Spread",
    "padded_weights",
]

Rows = NDArray[np.float32]
COLUMN_CLASSES: Final = 12
PLACES: Final = 96  # 32 between two boundaries, at the lowest level, inside or at the highest
BITS: Final = (2, 3, 4)
CODE_CONTEXTS: Final = len(BITS) * COLUMN_CLASSES * PLACES
SCALE_STEP: Final = 16
SCALE_CONTEXTS: Final = len(BITS) * 256 // SCALE_STEP
OFFSET_CONTEXTS: Final = len(BITS)
CELLS: Final = 4  # of a unit of the palette, within ±FURTHEST
FURTHEST: Final = 160
SMALLEST: Final = np.float32(1e-30)
MOST_OFFSET: Final = 127


def padded_weights(matrix: Matrix, group: int) -> Rows:
    """float32, (16 * tiles, padded columns); zeroes behind the matrix."""
    rows, columns = matrix.shape
    whole = np.zeros((tiles(rows) * TILE, padded_columns(columns, group)), np.float32)
    dense = matrix.dense_unfused() if isinstance(matrix, GridMatrix) else matrix.dense()
    whole[:rows, :columns] = dense.numpy()
    return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of each group of a source matrix, float32, (16 * tiles, groups)."""

    most: Rows
    """The largest magnitude."""
    middle: Rows

    @classmethod
    def of(cls, weights: Rows, group: int) -> "Spread":
        grouped = weights.reshape(len(weights), -1, group)
        low, high = grouped.min(2), grouped.max(2)
        return cls(most=np.maximum(high, -low), middle=(low + high) * np.float32(0.5))

    def reach(self, row_scale: Rows, scales: Rows) -> float:
        """What a unit of scale reaches in this matrix: the median over its groups."""
        steps = row_scale[:, None] * scales
        used = steps > 0
        found = self.most[used] / steps[used]
        return float(np.median(found)) if found.size and found.any() else 1.0


class Predictor:
    """Of one matrix of 2, 3 or 4 bits with row scales (16 * tiles,), float32."""

    def __init__(self, bits: int, palette: NDArray[np.int8]) -> None:
        self._at = BITS.index(bits)
        self._mask = np.uint8((1 << bits) - 1)
        self._nearest, self._place = _table(palette)

    def scales(self, spread: Spread, row_scale: Rows, reach: float) -> NDArray[np.uint8]:
        """(16 * tiles, groups); see ``scale_contexts``."""
        unit = np.maximum(row_scale * np.float32(reach), SMALLEST)
        return _rounded(spread.most / unit[:, None], 0, 255).astype(np.uint8)

    def scale_contexts(self, predicted: NDArray[np.uint8]) -> NDArray[np.uint16]:
        first = np.uint16(self._at * 256 // SCALE_STEP)
        return predicted.astype(np.uint16) // np.uint16(SCALE_STEP) + first

    def offsets(self, spread: Spread, row_scale: Rows, scales: Rows) -> NDArray[np.uint8]:
        """As the bytes of int8."""
        steps = np.maximum(row_scale[:, None] * scales, SMALLEST)
        found = _rounded(spread.middle / steps, -MOST_OFFSET, MOST_OFFSET)
        return found.astype(np.int8).view(np.uint8)

    def offset_contexts(self, predicted: NDArray[np.uint8]) -> NDArray[np.uint16]:
        return np.full(predicted.shape, self._at, np.uint16)

    def codes(
        self, weights: Rows, steps: Rows, offsets: Rows | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """The nearest code of each weight, and its place; see ``code_contexts``.

        ``steps``: row scale by scale, ``offsets``: both by column, of the shape of ``weights``.
        """
        at = weights / np.maximum(steps, SMALLEST)
        if offsets is not None:
            at -= offsets
        cell = _rounded(at * np.float32(CELLS), -FURTHEST * CELLS, FURTHEST * CELLS)
        index = cell.astype(np.int16)
        index += np.int16(FURTHEST * CELLS)
        return self._nearest[index], self._place[index]

    def code_contexts(
        self, places: NDArray[np.uint16], classes: NDArray[np.uint8]
    ) -> NDArray[np.uint16]:
        """``classes``: of each column, below ``COLUMN_CLASSES``."""
        first = classes.astype(np.uint16) + np.uint16(self._at * COLUMN_CLASSES)
        first *= np.uint16(PLACES)
        return places + first[None, :]

    def difference(self, codes: NDArray[np.uint8], nearest: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is coded: modulo the number of codes. Added to ``nearest``, it is undone."""
        return (codes - nearest) & self._mask

    def sum(self, difference: NDArray[np.uint8], nearest: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return (difference + nearest) & self._mask


def _rounded(values: NDArray[Any], low: int, high: int) -> Rows:
    found: Rows = np.clip(np.floor(values + np.float32(0.5)), low, high)
    return np.nan_to_num(found, copy=False)


def _table(palette: NDArray[np.int8]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """For each cell of the palette's axis the nearest code, and the place in its level's reach."""
    at = np.arange(-FURTHEST * CELLS, FURTHEST * CELLS + 1) / CELLS
    order = np.argsort(palette, kind="stable")
    levels = palette[order].astype(np.float64)
    between = (levels[1:] + levels[:-1]) / 2
    level = np.searchsorted(between, at)
    left = np.concatenate([[2 * levels[0] - between[0]], between])[level]
    right = np.concatenate([between, [2 * levels[-1] - between[-1]]])[level]
    inside = np.clip((at - left) / np.maximum(right - left, 1e-9) * 32, 0, 31).astype(np.uint16)
    end = np.where(level == 0, 0, np.where(level == levels.size - 1, 2, 1)).astype(np.uint16)
    return order[level].astype(np.uint8), inside * np.uint16(3) + end
