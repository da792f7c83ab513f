"""Packed matrices that learn: weights that the codec rounds anew in every forward pass.

A weight is ``row scale * scale * (palette[code] + offset)``, see docs/packed-format.md. Behind each
stands a *shadow* weight in float32; its code is the nearest level. Every number is rounded to what
the file can hold before it is used, so what is trained is what is written.

Slopes:
    - rounding to the nearest level is passed straight through to the shadow weight where it lies
      among the levels, and not at all outside of them (Bengio et al. 2013; Esser et al. 2020, LSQ)
    - scales and offsets: what is left when the code follows; outside of the levels the exact slope
    - palette: exact. With codes held, those of scales and offsets are too, and nothing else learns
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.formats.packed_matrix import (
    PackedMatrix,
    by_row,
    by_tile,
    from_bfloat16,
    pack_codes,
    unpack_codes,
)
from inference.training.decoder import TrainableDecoder
from inference.training.low_rank import GROUPS

__all__ = ["RoundedMatrix", "rounded_layer"]

_MARGIN = 0.05  # of a cell: how far from its edge a shadow weight begins
_TWICE_LOWEST = 2 * 127


@dataclass(slots=True, kw_only=True, repr=False)
class RoundedMatrix:
    """Of a matrix with 2, 3 or 4 bits; float32, the last dimensions padded to whole groups.

    ``shadow``: (rows, groups, group). ``scales``, ``offsets``: (rows, groups), ``palette``:
    (2**bits,), in units of the file. ``codes``: uint8 like ``shadow`` once they are held, and
    ``held``, int8, what they stand for.
    """

    packed: PackedMatrix
    row_scale: Tensor
    shadow: Tensor
    scales: Tensor
    offsets: Tensor | None
    palette: Tensor
    codes: Tensor | None = None
    held: Tensor | None = None

    @classmethod
    def of(cls, packed: PackedMatrix, weight: Tensor) -> "RoundedMatrix":
        """``weight``: of the source, float32, (rows, columns). Begins exactly at ``packed``: each
        shadow weight is the source's, moved into the cell of its code."""
        rows, columns = packed.shape
        palette, order = torch.from_numpy(_wide(packed.palette)).sort()
        codes = torch.from_numpy(unpack_codes(packed.codes, packed.bits)[:rows].astype(np.int64))
        scales = _rows_of(packed.scales, rows).clamp_min(1)
        offsets = None if packed.offsets is None else _rows_of(packed.offsets, rows)
        shape = (rows, scales.shape[1], packed.group)
        codes = order.argsort()[codes].view(shape)
        row_scale = torch.from_numpy(from_bfloat16(packed.row_scale)[:rows].copy())
        padded = functional.pad(weight, (0, shape[1] * shape[2] - columns)).view(shape)
        step, shift = _steps(row_scale, scales, offsets)
        low, high = _cells(palette)
        inside = torch.clamp(padded / step - shift, low[codes], high[codes])
        return cls(
            packed=packed,
            row_scale=row_scale,
            shadow=((inside + shift) * step).requires_grad_(),
            scales=scales.requires_grad_(),
            offsets=None if offsets is None else offsets.requires_grad_(),
            palette=palette.requires_grad_(),
        )

    def dense(self) -> Tensor:
        """What the file will stand for, with slopes, float32, (rows, columns)."""
        whole: Tensor = _Rounding.apply(  # type: ignore[no-untyped-call]  # torch types it so
            self.shadow, self.scales, self.offsets, self.palette, self.row_scale, self.held
        )
        return whole.flatten(1)[:, : self.packed.shape[1]]

    def hold_codes(self) -> Tensor:
        """The codes; from now on only scales and offsets learn."""
        if self.codes is None:
            with torch.no_grad():
                levels, order = _levels(self.palette)
                self.palette.copy_(self.palette[order])
                step, shift = _steps(self.row_scale, *_whole(self.scales, self.offsets))
                codes = _nearest(_among_levels(self.shadow, step, shift), levels)
                self.codes, self.held = codes.byte(), levels.char()[codes]
            self.shadow = torch.empty(0)
        return self.codes

    def numbers(self) -> list[Tensor]:
        """Scales, offsets and, while codes are not held, the palette: what learns beside shadow
        weights."""
        palette = self.palette if self.codes is None else None
        return [it for it in (self.scales, self.offsets, palette) if it is not None]

    def written(self) -> PackedMatrix:
        """As the file holds it. Holds the codes."""
        codes = self.hold_codes().flatten(1)[:, : self.packed.shape[1]].numpy()
        scales, offsets = _whole(self.scales.detach(), self.offsets)
        return PackedMatrix(
            shape=self.packed.shape,
            bits=self.packed.bits,
            group=self.packed.group,
            codes=pack_codes(codes, self.packed.bits, self.packed.group),
            row_scale=self.packed.row_scale,
            palette=self.palette.detach().round().clamp(-127, 127).numpy().astype(np.int8),
            scales=by_tile(scales.numpy().astype(np.uint8)),
            offsets=None if offsets is None else by_tile(offsets.detach().numpy().astype(np.int8)),
        )


def rounded_layer(
    matrices: Mapping[str, PackedMatrix], source: TrainableDecoder, index: int
) -> dict[str, RoundedMatrix]:
    """The matrices of a layer, ready to learn."""
    found = {}
    for group, parts in GROUPS.items():
        names = [f"layers.{index}.{part}" for part in parts]
        whole = getattr(source.layers[index], group).float()
        rows = [matrices[name].shape[0] for name in names]
        for name, weight in zip(names, torch.split(whole, rows), strict=True):
            found[name] = RoundedMatrix.of(matrices[name], weight)
    return found


class _Rounding(torch.autograd.Function):
    """Float32, (rows, groups, group)."""

    @staticmethod
    def forward(
        ctx: Any,
        shadow: Tensor,
        scales: Tensor,
        offsets: Tensor | None,
        palette: Tensor,
        row_scale: Tensor,
        held: Tensor | None,
    ) -> Tensor:
        step, shift = _steps(row_scale, *_whole(scales, offsets))
        ctx.has_offsets = offsets is not None
        if held is not None:
            value = held + shift
            ctx.save_for_backward(value, None, None, None, step, None, row_scale)
            return value * step
        levels, order = _levels(palette)
        at = _among_levels(shadow, step, shift)
        codes = _nearest(at, levels)
        edge = (levels[1] - levels[0]) / 2, (levels[-1] - levels[-2]) / 2
        inside = (at > levels[0] - edge[0]) & (at < levels[-1] + edge[1])
        followed = (at + shift).mul_(inside)
        value = levels.index_select(0, codes.flatten()).view(codes.shape).add_(shift)
        ctx.save_for_backward(value, codes, inside, followed, step, order, row_scale)
        return value * step

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        value, codes, inside, followed, step, order, row_scale = ctx.saved_tensors
        slope = slopes[0]
        at_scale = value if followed is None else value - followed
        scales = (slope * at_scale).sum(-1) * row_scale[:, None]
        if codes is None:
            offsets = slope.sum(-1) * step[..., 0] if ctx.has_offsets else None
            return None, scales, offsets, None, None, None
        stepped = slope * step
        by_code = torch.zeros(len(order)).scatter_add_(0, codes.flatten(), stepped.flatten())
        palette = torch.empty_like(by_code).scatter_(0, order, by_code)
        offsets = (stepped * ~inside).sum(-1) if ctx.has_offsets else None
        return slope * inside, scales, offsets, palette, None, None


def _steps(row_scale: Tensor, scales: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Step and offset, (rows, groups, 1)."""
    shift = torch.zeros_like(scales) if offsets is None else offsets
    return (row_scale[:, None] * scales)[..., None], shift[..., None]


def _whole(scales: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """As the file can hold them."""
    shifts = None if offsets is None else offsets.round().clamp(-127, 127)
    return scales.round().clamp(1, 255), shifts


def _among_levels(shadow: Tensor, step: Tensor, shift: Tensor) -> Tensor:
    """Shadow weights in units of the palette; a broadcast division costs ten times the product."""
    return shadow * step.reciprocal() - shift


def _levels(palette: Tensor) -> tuple[Tensor, Tensor]:
    """Rounded, ascending, and which of the palette each is."""
    levels, order = palette.round().clamp(-127, 127).sort()
    return levels, order


def _nearest(at: Tensor, levels: Tensor) -> Tensor:
    """Which level is nearest, int64: how many edges lie below. Levels are whole numbers, so twice
    an edge is one too, and a table of all of them costs a third of comparing with each."""
    edges = (levels[1:] + levels[:-1]).long() + _TWICE_LOWEST
    below = torch.zeros(2 * _TWICE_LOWEST + 1, dtype=torch.long)
    below = below.index_add_(0, edges, torch.ones_like(edges)).cumsum(0)
    # The largest whole number below twice the place: an edge itself is not below it.
    place = (at * 2).ceil_().add_(_TWICE_LOWEST - 1).clamp_(0, 2 * _TWICE_LOWEST)
    return below.index_select(0, place.flatten().int()).view(at.shape)


def _cells(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each code's cell, a little inside of it. The outer ones are as
    wide on both sides: nothing begins where no slope reaches it."""
    gaps = (levels[1:] - levels[:-1]) * (0.5 - _MARGIN)
    low = levels - torch.cat([gaps[:1], gaps])
    high = levels + torch.cat([gaps, gaps[-1:]])
    return low, high


def _wide(values: Any) -> Any:
    return values.astype(np.float32)


def _rows_of(groups: Any, rows: int) -> Tensor:
    """(tiles, groups, 16) to float32, (rows, groups)."""
    return torch.from_numpy(by_row(groups)[:rows].copy())
