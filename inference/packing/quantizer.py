"""Choosing the numbers of a packed matrix: palette, scales, and rounding that makes up for itself.

Plan of ``quantize`` for a matrix W and the second moments H = E[x x^T] of what it is multiplied by:
    1. scales, and offsets if there are to be any: for each group of each row those with the least
       error weighted by diag(H), of some fractions of its largest weight, about 0 or about the
       middle of the group; rounded to what the file can hold before they are judged
    2. palette: weighted k-means of the scaled weights (Lloyd 1982); 1 and 2 in turns
    3. rounding column by column, most important first, each error spread over the columns not yet
       rounded by the inverse of H (Frantar et al. 2023, GPTQ)

The codec is ``inference.formats.packed_matrix``: nothing here knows where bits lie.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Grid", "Quantized", "Way", "quantize", "quantize_rows", "rounded"]

_DAMPING: Final = 0.01
_TURNS: Final = 4
_FRACTIONS: Final = tuple(1.1 - 0.05 * step for step in range(13))
_FEW_FRACTIONS: Final = (1.0, 0.9, 0.8, 0.7)
_SAMPLE: Final = 1 << 18
_PALETTE_ROWS: Final = 192
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """``codes``: uint8, (rows, columns); ``palette``: int8; ``grid``: of the groups."""

    codes: Tensor
    palette: Tensor
    grid: "Grid"

    def dense(self, group: int) -> Tensor:
        """float32, (rows, columns): what the file will stand for."""
        steps, shifts = self.grid.by_column(self.codes.shape[1], group)
        return (self.palette.float()[self.codes.long()] + shifts) * steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """``scales``: uint8 from 1, (rows, groups); ``offsets``: int8 likewise, or ``None``;
    ``row_scale``: float32 exactly representable in bfloat16, (rows,)."""

    row_scale: Tensor
    scales: Tensor
    offsets: Tensor | None

    def by_column(self, columns: int, group: int) -> tuple[Tensor, Tensor]:
        """Step and offset of each weight, float32, (rows, columns)."""
        steps = self.row_scale[:, None] * self.scales.float()
        shifts = torch.zeros_like(steps) if self.offsets is None else self.offsets.float()
        return (
            steps.repeat_interleave(group, 1)[:, :columns],
            shifts.repeat_interleave(group, 1)[:, :columns],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a matrix is to be held: bits of a code, columns of a group, offsets or none."""

    bits: int
    group: int
    offsets: bool = False


def quantize(weight: Tensor, moments: Tensor, way: Way) -> Quantized:
    """``weight``: float32, (rows, columns); ``moments``: float32, (columns, columns)."""
    importance = moments.diagonal().clamp_min(1e-12)
    palette = _learnt_palette(weight, importance, way)  # 1, 2
    grid = _grid(weight, importance, palette, way)
    codes = _round(weight, moments, palette, grid.by_column(weight.shape[1], way.group))  # 3
    return Quantized(codes=codes, palette=palette, grid=grid)


def rounded(weight: Tensor, inputs: Tensor, way: Way) -> Tensor:
    """Plain rounding, float32, (rows, columns): no error is made up for, the grid is rough.

    ``inputs``: (columns,), how much each column matters.
    """
    palette = _learnt_palette(weight, inputs, way)
    grid = _grid(weight, inputs, palette, way, _FEW_FRACTIONS)
    steps, shifts = grid.by_column(weight.shape[1], way.group)
    nearest = palette.float()[_nearest(weight / steps - shifts, palette)]
    return (nearest + shifts) * steps


def _learnt_palette(weight: Tensor, importance: Tensor, way: Way) -> Tensor:
    """1 and 2 in turns, on some of the rows."""
    weight = weight[:: max(1, weight.shape[0] // _PALETTE_ROWS)]
    palette = torch.linspace(-127, 127, 1 << way.bits).round().to(torch.int8)
    for _ in range(_TURNS):
        grid = _grid(weight, importance, palette, way, _FEW_FRACTIONS)
        steps, shifts = grid.by_column(weight.shape[1], way.group)
        palette = _palette(weight / steps - shifts, importance * steps.square(), palette)
    return palette


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """8 bits with one scale a row: int8 (rows, columns) and the float32 scales (rows,)."""
    step = (weight.abs().amax(1) / 127).clamp_min(1e-30).bfloat16().float()
    return (weight / step[:, None]).round().clamp(-127, 127).to(torch.int8), step


def _row_scale(weight: Tensor) -> Tensor:
    """So that the largest weight of a row needs about group scale 230 of 255."""
    return (weight.abs().amax(1) / (127 * 230)).clamp_min(1e-30).bfloat16().float()


def _nearest(values: Tensor, palette: Tensor) -> Tensor:
    """Index of the nearest palette value; the palette ascends."""
    levels = palette.float()
    return torch.bucketize(values.contiguous(), (levels[1:] + levels[:-1]) / 2)


def _grid(
    weight: Tensor,
    importance: Tensor,
    palette: Tensor,
    way: Way,
    fractions: tuple[float, ...] = _FRACTIONS,
) -> Grid:
    """1."""
    columns, groups = weight.shape[1], -(-weight.shape[1] // way.group)
    missing = groups * way.group - columns
    cut = functional.pad(weight, (0, missing)).view(-1, groups, way.group)
    mass = functional.pad(importance, (0, missing)).view(1, groups, way.group)
    row_scale = _row_scale(weight)
    middle = (cut.amax(-1) + cut.amin(-1)) / 2
    best, shift = torch.ones_like(middle), torch.zeros_like(middle)
    least = torch.full_like(middle, torch.inf)
    for centre in (torch.zeros_like(middle), middle)[: 1 + way.offsets]:
        largest = (cut - centre[..., None]).abs().amax(-1)
        for fraction in fractions:
            scale = (largest * fraction / (127 * row_scale[:, None])).round().clamp(1, 255)
            step = scale * row_scale[:, None]
            offset = (centre / step).round().clamp(-127, 127)
            error = _group_errors(cut, mass, palette, step[..., None], offset[..., None])
            better = error < least
            best, shift = torch.where(better, scale, best), torch.where(better, offset, shift)
            least = torch.where(better, error, least)
    offsets = shift.to(torch.int8) if way.offsets else None
    return Grid(row_scale=row_scale, scales=best.to(torch.uint8), offsets=offsets)


def _group_errors(
    cut: Tensor, mass: Tensor, palette: Tensor, step: Tensor, offset: Tensor
) -> Tensor:
    """Weighted squared error of plain rounding, (rows, groups)."""
    rounded = (palette.float()[_nearest(cut / step - offset, palette)] + offset) * step
    return ((rounded - cut).square_() * mass).sum(-1)


def _palette(values: Tensor, mass: Tensor, palette: Tensor) -> Tensor:
    """2. A few Lloyd steps over a sample of the scaled weights; ascending int8."""
    values, mass = values.flatten(), mass.flatten()
    stride = max(1, values.numel() // _SAMPLE) | 1  # odd: it meets every column
    values, mass = values[::stride], mass[::stride]
    for _ in range(3):
        nearest = _nearest(values, palette)
        total = torch.zeros(len(palette)).scatter_add_(0, nearest, mass)
        moment = torch.zeros(len(palette)).scatter_add_(0, nearest, mass * values)
        means = torch.where(total > 0, moment / total.clamp_min(1e-30), palette.float())
        palette = means.round().clamp(-127, 127).to(torch.int8).sort().values
    return palette


def _round(weight: Tensor, moments: Tensor, palette: Tensor, grid: tuple[Tensor, Tensor]) -> Tensor:
    """3. uint8 codes, (rows, columns)."""
    columns = weight.shape[1]
    damped = moments.clone()
    damped.diagonal().add_(_DAMPING * moments.diagonal().mean() + 1e-12)
    order = torch.argsort(damped.diagonal(), descending=True)
    spread = _inverse_factor(damped[order][:, order])
    left = weight[:, order].clone()
    steps, shifts = (part[:, order] for part in grid)
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    levels = palette.float()
    for first in range(0, columns, _BLOCK):
        last = min(first + _BLOCK, columns)
        errors = torch.empty(weight.shape[0], last - first)
        for at in range(first, last):
            column, step, shift = left[:, at], steps[:, at], shifts[:, at]
            code = _nearest(column / step - shift, palette)
            codes[:, order[at]] = code.to(torch.uint8)
            error = (column - (levels[code] + shift) * step) / spread[at, at]
            left[:, at:last] -= error[:, None] * spread[at, at:last]
            errors[:, at - first] = error
        left[:, last:] -= errors @ spread[first:last, last:]
    return codes


def _inverse_factor(moments: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse, in float64 for safety."""
    lower = torch.linalg.cholesky(moments.double())
    inverse = torch.cholesky_inverse(lower)
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()
