"""Which matrices a packed model rounds, the ways there are to hold one, and what each takes."""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from inference.architectures import DecoderConfig, DecoderWeights
from inference.formats.packed_matrix import padded_columns, tiles
from inference.packing.quantizer import Way

__all__ = ["BODY", "body_matrices", "group_of", "size_in_bits", "ways"]

BODY: Final = {
    "qkv": ("q", "k", "v"),
    "output": ("output",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
}
# From small to large. Offsets pay once codes are fine: at 4 bits they take an eighth of a bit more.
_WAYS: Final = ((2, False), (3, False), (4, False), (4, True))


def ways(group: int) -> list[Way]:
    """The ways an allocation chooses from, from small to large."""
    return [Way(bits=bits, group=group, offsets=offsets) for bits, offsets in _WAYS]


def group_of(config: DecoderConfig) -> int:
    """Columns of a group: 64 where every matrix is cut into whole ones."""
    widths = [config.width]
    widths += [shape.ffn_width for shape in config.shapes]
    widths += [shape.attention_width for shape in config.shapes]
    return 64 if all(width % 64 == 0 for width in widths) else 32


def body_matrices(
    config: DecoderConfig, weights: DecoderWeights, index: int, part: str
) -> Iterator[tuple[str, Tensor]]:
    """(name, float32 weight) of the matrices of a layer's ``part``: one input, in row order."""
    shape = config.shapes[index]
    match part:
        case "qkv":
            whole = weights.qkv(config.width, shape, index)[0].dense()
            sizes = [shape.attention_width, shape.kv_width, shape.kv_width]
        case "gate_up":
            whole = weights.gate_up(config.width, shape, index).dense()
            sizes = [shape.ffn_width] * 2
        case _:
            columns = shape.attention_width if part == "output" else shape.ffn_width
            whole = weights.matrix(part, (config.width, columns), index).dense()
            sizes = [config.width]
    names = [f"layers.{index}.{name}" for name in BODY[part]]
    yield from zip(names, torch.split(whole, sizes), strict=True)


def size_in_bits(rows: int, columns: int, way: Way) -> float:
    """Bits a matrix takes in the file, padding, scales and palette included."""
    high, wide = tiles(rows) * 16, padded_columns(columns, way.group)
    of_group = 8 * (1 + way.offsets) / way.group
    return high * wide * (way.bits + of_group) + 16 * high + 8 * (1 << way.bits)
