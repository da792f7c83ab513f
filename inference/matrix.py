"""A weight matrix as a file holds it: plain numbers, or 4-bit codes on a grid.

A grid row is cut into groups of 32 columns; the weight is ``code * scale + minimum``. The 4-bit
block types of GGUF are all of this shape, so nothing is rounded on the way here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GRID_GROUP", "GridMatrix", "Matrix", "PlainMatrix", "row_slices", "stack_rows"]

GRID_GROUP = 32
_SLICE_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMatrix:
    """Floating-point weights, read when they are asked for: a vocabulary is never whole in float32.

    ``read(first, last)`` gives rows first…last-1, shape (last - first, columns).
    """

    shape: tuple[int, int]
    read: Callable[[int, int], Tensor]

    @classmethod
    def of(cls, values: Tensor) -> "PlainMatrix":
        """The matrix of a tensor of shape (rows, columns)."""
        rows, columns = values.shape
        return cls(shape=(rows, columns), read=lambda first, last: values[first:last])

    def dense(self) -> Tensor:
        """float32, shape (rows, columns)."""
        return self.read(0, self.shape[0]).float()

    def dense_rows(self, first: int, last: int) -> Tensor:
        return self.read(first, last).float()

    def take_rows(self, index: Tensor) -> "PlainMatrix":
        return PlainMatrix.of(self.dense()[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class GridMatrix:
    """``codes``: uint8 0…15, (rows, columns); ``scale``, ``minimum``: float32, (rows, groups)."""

    codes: Tensor
    scale: Tensor
    minimum: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.codes.shape
        return rows, columns

    def dense(self) -> Tensor:
        """float32, shape (rows, columns)."""
        grouped = self.codes.view(self.shape[0], -1, GRID_GROUP).float()
        return torch.addcmul(self.minimum[..., None], grouped, self.scale[..., None]).view(
            self.shape
        )

    def dense_unfused(self) -> Tensor:
        """``dense`` with the product rounded before the sum: the same bits on every processor.

        ``dense`` may fuse the two, and not everywhere.
        """
        weight = self.codes * self.scale.repeat_interleave(GRID_GROUP, 1)
        weight += self.minimum.repeat_interleave(GRID_GROUP, 1)
        return weight

    def dense_rows(self, first: int, last: int) -> Tensor:
        part = slice(first, last)
        return GridMatrix(
            codes=self.codes[part], scale=self.scale[part], minimum=self.minimum[part]
        ).dense()

    def take_rows(self, index: Tensor) -> "GridMatrix":
        return GridMatrix(
            codes=self.codes[index], scale=self.scale[index], minimum=self.minimum[index]
        )


Matrix = PlainMatrix | GridMatrix


def stack_rows(parts: Sequence[Matrix]) -> Matrix:
    """One matrix of all rows in order; a grid only when every part is one."""
    grids = [part for part in parts if isinstance(part, GridMatrix)]
    if len(grids) == len(parts):
        return GridMatrix(
            codes=torch.cat([grid.codes for grid in grids]),
            scale=torch.cat([grid.scale for grid in grids]),
            minimum=torch.cat([grid.minimum for grid in grids]),
        )
    return PlainMatrix.of(torch.cat([part.dense() for part in parts]))


def row_slices(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(first, last) of row ranges small enough to be worked on in float32 one after the other."""
    rows, columns = shape
    step = max(1, _SLICE_ELEMENTS // columns)
    for first in range(0, rows, step):
        yield first, min(first + step, rows)
