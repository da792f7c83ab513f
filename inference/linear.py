"""Matrix products of the decoder: one seam, and the forms a weight can take on this machine.

Every form computes the same function: a matrix held in 4 or 8 bits keeps a bfloat16 copy of *those*
rounded values for prompts, where torch's bfloat16 product is two to three times faster than its
low-bit kernels (they win below about six rows). So a perplexity measured over prompts is that of
the weights that decode.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from inference.matrix import GRID_GROUP, GridMatrix, Matrix, row_slices

__all__ = [
    "DenseLinear",
    "Int4Linear",
    "Int8Linear",
    "Linear",
    "WeightForm",
    "build_linear",
    "dense_copy",
]

WeightForm = Literal["float32", "bfloat16", "int8", "int4"]
_FEW_ROWS = 6  # measured: up to here the low-bit kernels beat the bfloat16 product
_FEW_ROWS_BY_SLICES = 24  # and up to here one whose matrix must be made first, slice by slice


class Linear(Protocol):
    """``y = x W^T + b`` for x of shape (n, columns); y has shape (n, rows)."""

    def __call__(self, x: Tensor) -> Tensor: ...


class DenseLinear:
    """Weights as they compute: float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight, self._bias)


class Int8Linear:
    """int8 values with one bfloat16 scale for each row."""

    def __init__(
        self, values: Tensor, scale: Tensor, bias: Tensor | None, dense: Tensor | None
    ) -> None:
        self.values = values
        self.scale = scale
        self._bias = bias
        self._dense = dense

    @classmethod
    def of(cls, matrix: Matrix, bias: Tensor | None = None, *, keep_dense: bool) -> "Int8Linear":
        values = torch.empty(matrix.shape, dtype=torch.int8)
        scale = torch.empty(matrix.shape[0], dtype=torch.bfloat16)
        for first, last in row_slices(matrix.shape):
            rows = matrix.dense_rows(first, last)
            # The scale is rounded first, so that the values are the best ones for what is used.
            step = (rows.abs().amax(1) / 127).clamp_min(1e-12).bfloat16()
            values[first:last] = (rows / step.float()[:, None]).round_().clamp_(-127, 127)
            scale[first:last] = step
        dense = values.bfloat16().mul_(scale[:, None]) if keep_dense else None
        return cls(values, scale, bias, dense)

    def __call__(self, x: Tensor) -> Tensor:
        few = _FEW_ROWS_BY_SLICES if self._dense is None else _FEW_ROWS
        if x.shape[0] <= few:
            y: Tensor = torch.ops.aten._weight_int8pack_mm(x, self.values, self.scale)
        elif self._dense is not None:
            y = functional.linear(x, self._dense)
        else:
            y = self._by_slices(x)
        return y if self._bias is None else y + self._bias

    def _by_slices(self, x: Tensor) -> Tensor:
        """The bfloat16 product without a lasting bfloat16 copy: for matrices used rarely."""
        y = x.new_empty(x.shape[0], self.values.shape[0])
        for first, last in row_slices((self.values.shape[0], self.values.shape[1])):
            rows = self.values[first:last].bfloat16().mul_(self.scale[first:last, None])
            y[:, first:last] = functional.linear(x, rows)
        return y


class Int4Linear:
    """4-bit codes; ``w = (code - 8) * scale + zero``, bfloat16 pairs by group of 32 columns."""

    def __init__(
        self, packed: Tensor, grid: Tensor, bias: Tensor | None, dense: Tensor | None
    ) -> None:
        self._packed = packed
        self._grid = grid
        self._bias = bias
        self._dense = dense

    @classmethod
    def of(cls, matrix: Matrix, bias: Tensor | None = None, *, keep_dense: bool) -> "Int4Linear":
        grid = matrix if isinstance(matrix, GridMatrix) else _on_grid(matrix)
        scale = grid.scale.bfloat16()
        zero = (grid.minimum + 8 * grid.scale).bfloat16()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(grid.codes.int(), 2)
        rounded = GridMatrix(
            codes=grid.codes, scale=scale.float(), minimum=zero.float() - 8 * scale.float()
        )
        dense = rounded.dense().bfloat16() if keep_dense else None
        pairs = torch.stack([scale, zero], -1).transpose(0, 1).contiguous()
        return cls(packed, pairs, bias, dense)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > _FEW_ROWS and self._dense is not None:
            return functional.linear(x, self._dense, self._bias)
        y: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x, self._packed, GRID_GROUP, self._grid
        )
        return y if self._bias is None else y + self._bias


def _on_grid(matrix: Matrix) -> GridMatrix:
    """Round to the nearest point between each group's smallest and largest weight."""
    rows, columns = matrix.shape
    codes = torch.empty(rows, columns, dtype=torch.uint8)
    scale = torch.empty(rows, columns // GRID_GROUP)
    minimum = torch.empty_like(scale)
    for first, last in row_slices(matrix.shape):
        groups = matrix.dense_rows(first, last).view(last - first, -1, GRID_GROUP)
        low, high = groups.amin(-1), groups.amax(-1)
        step = ((high - low) / 15).clamp_min(1e-12).bfloat16().float()
        code = ((groups - low[..., None]) / step[..., None]).round_().clamp_(0, 15)
        codes[first:last] = code.view(last - first, columns)
        scale[first:last], minimum[first:last] = step, low
    return GridMatrix(codes=codes, scale=scale, minimum=minimum)


def build_linear(
    matrix: Matrix, form: WeightForm, *, bias: Tensor | None = None, keep_dense: bool = True
) -> Linear:
    """The matrix in the given form. ``keep_dense`` spends 2 bytes a weight on fast prompts.

    A matrix whose shape the 4-bit kernel cannot take (columns not in whole groups, rows not in
    sixteens) is held in 8 bits.
    """
    rows, columns = matrix.shape
    if form == "int4" and columns % GRID_GROUP == 0 and rows % 16 == 0:
        return Int4Linear.of(matrix, _as(bias, torch.bfloat16), keep_dense=keep_dense)
    if form in ("int4", "int8"):
        return Int8Linear.of(matrix, _as(bias, torch.bfloat16), keep_dense=keep_dense)
    dtype = torch.float32 if form == "float32" else torch.bfloat16
    return DenseLinear(dense_copy(matrix, dtype), _as(bias, dtype))


def dense_copy(matrix: Matrix, dtype: torch.dtype) -> Tensor:
    """The whole matrix in ``dtype``, converted slice by slice."""
    out = torch.empty(matrix.shape, dtype=dtype)
    for first, last in row_slices(matrix.shape):
        out[first:last] = matrix.dense_rows(first, last)
    return out


def _as(bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if bias is None else bias.to(dtype)
