"""Packing without choosing codes: those of a source on a 4-bit grid are kept.

The 4-bit blocks of GGUF say ``weight = code * step + minimum`` for 32 columns at a time, a packed
matrix says ``row scale * scale * (palette[code] + offset)``. With the palette ``16 * code - 120``
the two are the same grid: a code stays what it is, and what is rounded is the step, to one of 255
of its row, and the grid's middle, to a sixteenth of a step. No calibration, no randomness, no
reductions but maxima: the same source gives the same bytes on every machine.

Plan of ``kept_grid``:
    1. the row's scale: its widest group gets 255
    2. each group's step, and the offset that puts the middle of its grid where it was
    3. a group that lies so far from zero that no offset reaches it gets a wider step, and its
       weights the nearest codes on that
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from inference.architectures import DecoderConfig, DecoderWeights
from inference.loading import open_weights
from inference.matrix import GRID_GROUP, GridMatrix, Matrix
from inference.packing.assembly import Packed, add_ends, packed_matrix, plain_matrix
from inference.packing.body import BODY
from inference.packing.quantizer import Grid, Quantized, Way
from lanai.errors import UsageError

__all__ = ["KEPT", "keep_codes", "kept_grid", "layer_matrices"]

KEPT: Final = Way(bits=4, group=GRID_GROUP, offsets=True)
_STEP: Final = 16  # palette units of one code
_MIDDLE: Final = 7.5  # of the codes 0…15
_FURTHEST: Final = 127
_MOST: Final = 255


def keep_codes(source: Path, *, progress: Callable[[int, int], None]) -> Packed:
    """The packed form of ``source``; matrices that lie on no grid take 8 bits.

    ``progress`` hears layers done, of all.

    Raises ``UsageError`` for a source without any 4-bit matrix.
    """
    config, weights, _ = open_weights(source)
    packed = Packed(config=config, group=GRID_GROUP)
    kept = 0
    for index in range(config.layers):
        for name, matrix in layer_matrices(config, weights, index):
            if isinstance(matrix, GridMatrix):
                packed.matrices[name] = packed_matrix(kept_grid(matrix), KEPT)
                kept += 1
            else:
                packed.matrices[name] = plain_matrix(matrix, GRID_GROUP)
        progress(index + 1, config.layers)
    if not kept:
        raise UsageError(
            "the source has no 4-bit codes to keep", hint="pack it with --bits, or take a Q4 GGUF"
        )
    add_ends(packed, weights)
    return packed


def kept_grid(matrix: GridMatrix) -> Quantized:
    """``matrix`` in the numbers of a packed file, by the plan above."""
    middle = matrix.minimum + _MIDDLE * matrix.scale
    needed = torch.maximum(matrix.scale / _STEP, middle.abs() / _FURTHEST)
    row_scale = _upwards((needed.amax(1) / _MOST).clamp_min(1e-30))  # 1
    by_group = row_scale[:, None]
    least = (middle.abs() / (_FURTHEST * by_group)).ceil()
    scales = torch.maximum((matrix.scale / (_STEP * by_group)).round(), least).clamp(1, _MOST)
    offsets = (middle / (scales * by_group)).round().clamp(-_FURTHEST, _FURTHEST)  # 2
    palette = (_STEP * (torch.arange(16) - _MIDDLE)).to(torch.int8)
    grid = Grid(row_scale=row_scale, scales=scales.to(torch.uint8), offsets=offsets.to(torch.int8))
    return Quantized(codes=_nearest_codes(matrix, grid), palette=palette, grid=grid)  # 3


def _nearest_codes(matrix: GridMatrix, grid: Grid) -> Tensor:
    """uint8, (rows, columns): the source's own but where the step had to widen."""
    steps, shifts = grid.by_column(matrix.shape[1], GRID_GROUP)
    codes = (matrix.dense_unfused() / steps - shifts) / _STEP + _MIDDLE
    return codes.round().clamp(0, 15).to(torch.uint8)


def _upwards(values: Tensor) -> Tensor:
    """The next bfloat16 at or above, as float32, for positive values."""
    bits = values.view(torch.int32)
    return ((bits + 0xFFFF) & ~0xFFFF).view(torch.float32)


def layer_matrices(
    config: DecoderConfig, weights: DecoderWeights, index: int
) -> Iterator[tuple[str, Matrix]]:
    """(name, matrix) of a layer, as the source holds them."""
    shape, width = config.shapes[index], config.width
    parts = {
        "qkv": weights.qkv_parts(width, shape, index)[0],
        "output": [weights.matrix("output", (width, shape.attention_width), index)],
        "gate_up": weights.gate_up_parts(width, shape, index),
        "down": [weights.matrix("down", (width, shape.ffn_width), index)],
    }
    for part, names in BODY.items():
        for name, matrix in zip(names, parts[part], strict=True):
            yield f"layers.{index}.{name}", matrix
