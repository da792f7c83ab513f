"""Choosing the numbers of a packed matrix: palette, scales, and rounding that makes up for itself.

Plan of ``quantize`` for a matrix W and the second moments H = E[x x^T] of what it is multiplied by:
    1. scales: for each group of each row the one with the least error weighted by diag(H), of some
       fractions of its largest weight; rounded to what the file can hold before it is judged
    2. palette: weighted k-means of the scaled weights (Lloyd 1982); 1 and 2 in turns
    3. rounding column by column, most important first, each error spread over the columns not yet
       rounded by the inverse of H (Frantar et al. 2023, GPTQ)

The codec is ``inference.formats.packed_matrix``: nothing here knows where bits lie.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["Quantized", "quantize", "quantize_rows", "rough_error"]

_DAMPING: Final = 0.01
_TURNS: Final = 4
_FRACTIONS: Final = tuple(1.1 - 0.05 * step for step in range(13))
_FEW_FRACTIONS: Final = (1.0, 0.9, 0.8, 0.7)
_SAMPLE: Final = 1 << 18
_PALETTE_ROWS: Final = 192
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """``codes``: uint8, (rows, columns); ``palette``: int8; ``scales``: uint8, (rows, groups);
    ``row_scale``: float32 exactly representable in bfloat16, (rows,)."""

    codes: Tensor
    palette: Tensor
    scales: Tensor
    row_scale: Tensor

    def dense(self, group: int) -> Tensor:
        """float32, (rows, columns): what the file will stand for."""
        steps = (self.row_scale[:, None] * self.scales.float()).repeat_interleave(group, 1)
        return self.palette.float()[self.codes.long()] * steps[:, : self.codes.shape[1]]


def quantize(weight: Tensor, moments: Tensor, *, bits: int, group: int) -> Quantized:
    """``weight``: float32, (rows, columns); ``moments``: float32, (columns, columns)."""
    importance = moments.diagonal().clamp_min(1e-12)
    row_scale = _row_scale(weight)
    palette = _learnt_palette(weight, importance, row_scale, bits, group)  # 1, 2
    scales = _scales(weight, importance, palette, row_scale, group)
    codes = _round(weight, moments, palette, _steps(row_scale, scales, group))  # 3
    return Quantized(codes=codes, palette=palette, scales=scales, row_scale=row_scale)


def rough_error(weight: Tensor, inputs: Tensor, slopes: Tensor, *, bits: int, group: int) -> float:
    """What plain rounding would cost the loss: squared errors, weighed as ``sensitivity`` says.

    ``inputs``: (columns,); ``slopes``: (rows,).
    """
    row_scale = _row_scale(weight)
    palette = _learnt_palette(weight, inputs, row_scale, bits, group)
    scales = _scales(weight, inputs, palette, row_scale, group, _FEW_FRACTIONS)
    steps = _steps(row_scale, scales, group)[:, : weight.shape[1]]
    error = (palette.float()[_nearest(weight / steps, palette)] * steps - weight).square_()
    return float(slopes @ (error @ inputs))


def _learnt_palette(
    weight: Tensor, importance: Tensor, row_scale: Tensor, bits: int, group: int
) -> Tensor:
    """1 and 2 in turns, on some of the rows."""
    stride = max(1, weight.shape[0] // _PALETTE_ROWS)
    weight, row_scale = weight[::stride], row_scale[::stride]
    palette = _even_palette(bits)
    for _ in range(_TURNS):
        scales = _scales(weight, importance, palette, row_scale, group, _FEW_FRACTIONS)
        palette = _palette(weight, importance, palette, _steps(row_scale, scales, group))
    return palette


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """8 bits with one scale a row: int8 (rows, columns) and the float32 scales (rows,)."""
    step = (weight.abs().amax(1) / 127).clamp_min(1e-30).bfloat16().float()
    return (weight / step[:, None]).round().clamp(-127, 127).to(torch.int8), step


def _row_scale(weight: Tensor) -> Tensor:
    """So that the largest weight of a row needs about group scale 230 of 255."""
    return (weight.abs().amax(1) / (127 * 230)).clamp_min(1e-30).bfloat16().float()


def _even_palette(bits: int) -> Tensor:
    return torch.linspace(-127, 127, 1 << bits).round().to(torch.int8)


def _steps(row_scale: Tensor, scales: Tensor, group: int) -> Tensor:
    """(rows, padded columns): what a palette value is multiplied by. Never 0."""
    return (row_scale[:, None] * scales.float().clamp_min(0.5)).repeat_interleave(group, 1)


def _nearest(values: Tensor, palette: Tensor) -> Tensor:
    """Index of the nearest palette value; the palette ascends."""
    levels = palette.float()
    return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)


def _scales(
    weight: Tensor,
    importance: Tensor,
    palette: Tensor,
    row_scale: Tensor,
    group: int,
    fractions: tuple[float, ...] = _FRACTIONS,
) -> Tensor:
    """1. uint8, (rows, groups)."""
    rows, columns = weight.shape
    groups = -(-columns // group)
    padded = torch.zeros(rows, groups * group)
    padded[:, :columns] = weight
    cut = padded.view(rows, groups, group)
    weights = torch.zeros(groups * group)
    weights[:columns] = importance
    by_group = weights.view(1, groups, group)
    largest = cut.abs().amax(-1)
    best = torch.zeros(rows, groups)
    least = torch.full((rows, groups), torch.inf)
    for fraction in fractions:
        scale = (largest * fraction / (127 * row_scale[:, None])).round().clamp(1, 255)
        step = (scale * row_scale[:, None])[..., None]
        rounded = palette.float()[_nearest(cut / step, palette)] * step
        error = ((rounded - cut).square_() * by_group).sum(-1)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best.to(torch.uint8)


def _palette(weight: Tensor, importance: Tensor, palette: Tensor, steps: Tensor) -> Tensor:
    """2. One Lloyd step over a sample; ascending int8."""
    columns = weight.shape[1]
    values = (weight / steps[:, :columns]).flatten()
    mass = (importance * steps[:, :columns].square()).flatten()
    stride = max(1, values.numel() // _SAMPLE) | 1  # odd: it meets every column
    values, mass = values[::stride], mass[::stride]
    for _ in range(3):
        nearest = _nearest(values, palette)
        total = torch.zeros(len(palette)).scatter_add_(0, nearest, mass)
        moment = torch.zeros(len(palette)).scatter_add_(0, nearest, mass * values)
        means = torch.where(total > 0, moment / total.clamp_min(1e-30), palette.float())
        palette = means.round().clamp(-127, 127).to(torch.int8).sort().values
    return palette


def _round(weight: Tensor, moments: Tensor, palette: Tensor, steps: Tensor) -> Tensor:
    """3. uint8 codes, (rows, columns)."""
    columns = weight.shape[1]
    damped = moments.clone()
    damped.diagonal().add_(_DAMPING * moments.diagonal().mean() + 1e-12)
    order = torch.argsort(damped.diagonal(), descending=True)
    spread = _inverse_factor(damped[order][:, order])
    left = weight[:, order].clone()
    steps = steps[:, :columns][:, order]
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    levels = palette.float()
    for first in range(0, columns, _BLOCK):
        last = min(first + _BLOCK, columns)
        errors = torch.empty(weight.shape[0], last - first)
        for at in range(first, last):
            column, step = left[:, at], steps[:, at]
            code = _nearest(column / step, palette)
            codes[:, order[at]] = code.to(torch.uint8)
            error = (column - levels[code] * step) / spread[at, at]
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
