"""The tensors of a packed model as any other source gives them: the reference of the kernels.

A 4-bit matrix whose palette rises evenly is a grid, and is given as one: where there are no
kernels, torch's int4 products run it as they run a GGUF.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from inference.formats.packed import PackedFile
from inference.formats.packed_matrix import (
    PLAIN_BITS,
    PackedMatrix,
    by_row,
    from_bfloat16,
    unpack_codes,
)
from inference.matrix import GRID_GROUP, GridMatrix, Matrix, PlainMatrix
from lanai.errors import ModelFormatError

__all__ = ["PackedSource"]


class PackedSource:
    """A ``TensorSource``: the weights a packed file stands for, in float32."""

    def __init__(self, file: PackedFile) -> None:
        self._file = file

    def has(self, name: str) -> bool:
        return name in self._file.matrices or name in self._file.vectors

    def matrix(self, name: str) -> Matrix:
        packed = self._file.matrices.get(name)
        if packed is None:
            raise ModelFormatError(f"{self._file.path} lacks the matrix {name!r}")
        if (grid := _as_grid(packed)) is not None:
            return grid
        return PlainMatrix(shape=packed.shape, read=partial(_rows, packed))

    def all_on_grid(self) -> bool:
        """Whether every matrix is a grid or takes 8 bits: nothing is lost in torch's own forms."""
        matrices = self._file.matrices.values()
        return all(packed.bits == PLAIN_BITS or _even_step(packed) for packed in matrices)

    def vector(self, name: str) -> Tensor:
        vector = self._file.vectors.get(name)
        if vector is None:
            raise ModelFormatError(f"{self._file.path} lacks the vector {name!r}")
        return torch.from_numpy(vector.copy())


def _even_step(packed: PackedMatrix) -> int:
    """Palette units from code to code of a grid of groups of 32 columns; 0 for what is none."""
    if packed.bits != 4 or packed.palette is None or packed.group != GRID_GROUP:
        return 0
    steps = np.diff(packed.palette.astype(np.int32))
    even = steps[0] > 0 and not np.ptp(steps) and packed.shape[1] % GRID_GROUP == 0
    return int(steps[0]) if even else 0


def _as_grid(packed: PackedMatrix) -> GridMatrix | None:
    step, rows, columns = _even_step(packed), *packed.shape
    if not step or packed.palette is None or packed.scales is None:
        return None
    lowest = np.full(packed.scales.shape, packed.palette[0], np.float32)
    if packed.offsets is not None:
        lowest += packed.offsets
    unit = from_bfloat16(packed.row_scale)[:rows, None] * by_row(packed.scales)[:rows]
    return GridMatrix(
        codes=torch.from_numpy(unpack_codes(packed.codes, 4)[:rows, :columns].copy()),
        scale=torch.from_numpy(unit * np.float32(step)),
        minimum=torch.from_numpy(unit * by_row(lowest)[:rows]),
    )


def _rows(packed: PackedMatrix, first: int, last: int) -> Tensor:
    return torch.from_numpy(packed.dense_rows(first, last))
