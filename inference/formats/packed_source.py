"""The tensors of a packed model as any other source gives them: the reference of the kernels."""

from functools import partial

import torch
from torch import Tensor

from inference.formats.packed import PackedFile
from inference.formats.packed_matrix import PackedMatrix
from inference.matrix import Matrix, PlainMatrix
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
        return PlainMatrix(shape=packed.shape, read=partial(_rows, packed))

    def vector(self, name: str) -> Tensor:
        vector = self._file.vectors.get(name)
        if vector is None:
            raise ModelFormatError(f"{self._file.path} lacks the vector {name!r}")
        return torch.from_numpy(vector.copy())


def _rows(packed: PackedMatrix, first: int, last: int) -> Tensor:
    return torch.from_numpy(packed.dense_rows(first, last))
