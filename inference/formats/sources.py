"""Tensors out of model files, by the names the files use. Needs torch."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from gguf.constants import GGMLQuantizationType as Type
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.formats.gguf_file import GgufFile, GgufTensor
from inference.formats.huggingface import HuggingFaceFolder
from inference.matrix import GRID_GROUP, GridMatrix, Matrix, PlainMatrix
from lanai.errors import ModelFormatError

__all__ = ["GgufSource", "HuggingFaceSource", "TensorSource"]

_READABLE = {
    Type.F32,
    Type.F16,
    Type.BF16,
    Type.Q4_0,
    Type.Q4_1,
    Type.Q5_0,
    Type.Q5_1,
    Type.Q8_0,
    Type.Q2_K,
    Type.Q3_K,
    Type.Q4_K,
    Type.Q5_K,
    Type.Q6_K,
    Type.IQ4_NL,
    Type.IQ4_XS,
}


class TensorSource(Protocol):
    """Where a decoder's weights come from."""

    def has(self, name: str) -> bool: ...

    def matrix(self, name: str) -> Matrix:
        """A two-dimensional tensor. Raises ``ModelFormatError`` when missing or not finite."""

    def vector(self, name: str) -> Tensor:
        """A one-dimensional tensor as float32. Raises ``ModelFormatError`` likewise."""


class GgufSource:
    """Tensors of a GGUF file. 4-bit types come as the exact grid they are stored on."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file

    def has(self, name: str) -> bool:
        return name in self._file.tensors

    def matrix(self, name: str) -> Matrix:
        entry = self._entry(name, dimensions=2)
        if entry.type in _GRIDS:
            return self._grid(entry)
        rows, columns = entry.shape
        return PlainMatrix(shape=(rows, columns), read=partial(self._rows, entry))

    def vector(self, name: str) -> Tensor:
        return self._dense(self._entry(name, dimensions=1), self._file.blocks(name))

    def _entry(self, name: str, *, dimensions: int) -> GgufTensor:
        entry = self._file.tensors.get(name)
        if entry is None or len(entry.shape) != dimensions:
            raise ModelFormatError(f"{self._file.path} lacks a proper tensor {name!r}")
        if entry.type not in _READABLE:
            raise ModelFormatError(
                f"{self._file.path}: tensor {name!r} has type {entry.type.name}",
                hint="quantize the model to a common type, such as Q4_K_M or Q8_0",
            )
        return entry

    def _rows(self, entry: GgufTensor, first: int, last: int) -> Tensor:
        return self._dense(entry, self._file.blocks(entry.name)[first:last])

    def _dense(self, entry: GgufTensor, blocks: NDArray[np.uint8]) -> Tensor:
        if entry.type == Type.Q8_0:
            return _finite(_dense_q8_0(blocks), self._file.path, entry.name)
        if entry.type in (Type.F32, Type.F16):
            blocks = blocks.view(np.float32 if entry.type == Type.F32 else np.float16)
        # Damaged scales overflow on the way; the result is checked instead of each step.
        with np.errstate(all="ignore"):
            values = dequantize(blocks, entry.type)
        tensor = torch.from_numpy(np.array(values, dtype=np.float32))
        return _finite(tensor, self._file.path, entry.name)

    def _grid(self, entry: GgufTensor) -> GridMatrix:
        blocks = self._file.blocks(entry.name)
        with np.errstate(all="ignore"):
            codes, scale, minimum = _GRIDS[entry.type](blocks)
        rows, columns = entry.shape
        groups = (rows, columns // GRID_GROUP)
        where = (self._file.path, entry.name)
        return GridMatrix(
            codes=torch.from_numpy(codes.reshape(rows, columns)),
            scale=_finite(torch.from_numpy(scale.astype(np.float32).reshape(groups)), *where),
            minimum=_finite(torch.from_numpy(minimum.astype(np.float32).reshape(groups)), *where),
        )


class HuggingFaceSource:
    """Tensors of a safetensors folder."""

    def __init__(self, folder: HuggingFaceFolder) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        return name in self._folder.tensors

    def matrix(self, name: str) -> Matrix:
        return PlainMatrix.of(self._read(name, dimensions=2))

    def vector(self, name: str) -> Tensor:
        return self._read(name, dimensions=1).float()

    def _read(self, name: str, *, dimensions: int) -> Tensor:
        file = self._folder.tensors.get(name)
        if file is None:
            raise ModelFormatError(f"{self._folder.path} lacks the tensor {name!r}")
        try:
            with safe_open(str(file), framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelFormatError(f"{file} is damaged", hint="fetch the model again") from error
        if tensor.dim() != dimensions or not tensor.is_floating_point():
            raise ModelFormatError(f"{file}: tensor {name!r} is not a proper weight")
        return _finite(tensor, file, name)


def _finite(tensor: Tensor, file: object, name: str) -> Tensor:
    # One pass and no copy: a sum is finite only when every term is.
    if not torch.isfinite(tensor.sum(dtype=torch.float32)):
        raise ModelFormatError(
            f"{file}: tensor {name!r} holds values that are not finite",
            hint="the file is damaged: fetch the model again",
        )
    return tensor


_Grid = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


def _halves(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blocks of n bytes to 2n codes: all low halves first, then all high halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _half_floats(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def _dense_q8_0(rows: NDArray[np.uint8]) -> Tensor:
    """Block of 34 bytes: f16 scale d, 32 int8; w = d * value. torch uses every thread for it."""
    blocks = rows.reshape(-1, 34)
    scale = torch.from_numpy(_half_floats(blocks[:, :2]))
    values = torch.from_numpy(np.array(blocks[:, 2:]).view(np.int8)).float()
    return values.mul_(scale).view(rows.shape[0], -1)


def _grid_q4_0(rows: NDArray[np.uint8]) -> _Grid:
    """Block of 18 bytes: f16 scale d, 32 codes; w = d * (code - 8)."""
    blocks = rows.reshape(-1, 18)
    scale = _half_floats(blocks[:, :2])
    return _halves(blocks[:, 2:]), scale, -8 * scale


def _grid_q4_1(rows: NDArray[np.uint8]) -> _Grid:
    """Block of 20 bytes: f16 scale d, f16 minimum m, 32 codes; w = d * code + m."""
    blocks = rows.reshape(-1, 20)
    return _halves(blocks[:, 4:]), _half_floats(blocks[:, :2]), _half_floats(blocks[:, 2:4])


def _grid_q4_k(rows: NDArray[np.uint8]) -> _Grid:
    """Block of 144 bytes for 256 weights: f16 d, f16 dmin, 8 six-bit scales and minima, codes.

    Group j of 32: w = d * scale[j] * code - dmin * minimum[j].
    """
    blocks = rows.reshape(-1, 144)
    d, d_minimum = _half_floats(blocks[:, 0:2]), _half_floats(blocks[:, 2:4])
    low, middle, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=1)
    minima = np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=1)
    codes = _halves(blocks[:, 16:].reshape(-1, 4, 32))
    return codes, d * scales, -d_minimum * minima


_GRIDS: dict[Type, Callable[[NDArray[np.uint8]], _Grid]] = {
    Type.Q4_0: _grid_q4_0,
    Type.Q4_1: _grid_q4_1,
    Type.Q4_K: _grid_q4_k,
}
