"""The codec of packed matrices: which bytes stand for which weights. See docs/packed-format.md.

A weight is ``row scale * group scale * (palette[code] + offset)``. Bytes lie as the kernels read
them: tiles of 16 rows, units of 32 columns, in a unit eight *quads* of 16 rows by 4 columns. numpy
only; the quantizer's choices are made elsewhere.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BITS",
    "PLAIN_BITS",
    "TILE",
    "UNIT",
    "PackedMatrix",
    "by_row",
    "by_tile",
    "from_bfloat16",
    "pack_codes",
    "padded_columns",
    "tiles",
    "to_bfloat16",
    "unpack_codes",
]

TILE: Final = 16
UNIT: Final = 32
PLAIN_BITS: Final = 8  # the code is the value: no palette, no group scales
BITS: Final = (2, 3, 4, PLAIN_BITS)
# Where in the third block of a 3-bit unit the high bit of each quad's codes lies.
_HIGH_BIT: Final = (2, 0, 3, 1, 4, 5, 6, 7)

Bytes = NDArray[np.uint8]
Signed = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMatrix:
    """One matrix as the file holds it.

    ``codes``: uint8, (tiles, padded columns / 32, 64 * bits). ``row_scale``: bfloat16 bits as
    uint16, (16 * tiles,). Below 8 bits: ``palette`` int8, (2**bits,); ``scales`` uint8 and
    ``offsets`` int8 or ``None``, (tiles, groups, 16).
    """

    shape: tuple[int, int]
    bits: int
    group: int
    codes: Bytes
    row_scale: NDArray[np.uint16]
    palette: Signed | None = None
    scales: Bytes | None = None
    offsets: Signed | None = None

    @property
    def bytes(self) -> int:
        parts = (self.codes, self.row_scale, self.palette, self.scales, self.offsets)
        return sum(part.nbytes for part in parts if part is not None)

    def dense_rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Rows first…last-1 as float32, (last - first, columns)."""
        columns = self.shape[1]
        low, high = first // TILE, -(-last // TILE)
        codes = unpack_codes(self.codes[low:high], self.bits)
        rows = from_bfloat16(self.row_scale[low * TILE : high * TILE])[:, None]
        values = rows * self._levels(codes, low, high)
        return np.ascontiguousarray(values[first - low * TILE : last - low * TILE, :columns])

    def _levels(self, codes: Bytes, low: int, high: int) -> NDArray[np.float32]:
        """What the row scale is multiplied by, float32, (16 * tiles, padded columns)."""
        if self.palette is None or self.scales is None:
            return codes.view(np.int8).astype(np.float32)
        levels = self.palette[codes].astype(np.float32)
        if self.offsets is not None:
            levels += self._by_column(self.offsets[low:high])
        return levels * self._by_column(self.scales[low:high])

    def _by_column(self, groups: NDArray[Any]) -> NDArray[np.float32]:
        """(tiles, groups, 16) to (16 * tiles, padded columns)."""
        return np.repeat(by_row(groups), self.group, axis=1)


def by_row(groups: NDArray[Any]) -> NDArray[np.float32]:
    """(tiles, groups, 16) as float32, (16 * tiles, groups)."""
    return groups.transpose(0, 2, 1).reshape(-1, groups.shape[1]).astype(np.float32)


N = TypeVar("N", np.uint8, np.int8)


def by_tile(groups: NDArray[N]) -> NDArray[N]:
    """The inverse, of any number of rows: (rows, groups) to (tiles, groups, 16)."""
    whole = np.zeros((tiles(groups.shape[0]) * TILE, groups.shape[1]), groups.dtype)
    whole[: groups.shape[0]] = groups
    return np.ascontiguousarray(whole.reshape(-1, TILE, groups.shape[1]).transpose(0, 2, 1))


def tiles(rows: int) -> int:
    return -(-rows // TILE)


def padded_columns(columns: int, group: int) -> int:
    return -(-columns // group) * group


def pack_codes(codes: Bytes, bits: int, group: int) -> Bytes:
    """Codes, (rows, columns), to the file's bytes. Rows and columns are padded with code 0."""
    rows, columns = codes.shape
    whole = np.zeros((tiles(rows) * TILE, padded_columns(columns, group)), np.uint8)
    whole[:rows, :columns] = codes
    # (tiles, 16, units, 8 quads, 4) to (tiles, units, quads, 64)
    cut = whole.reshape(tiles(rows), TILE, -1, 8, 4).transpose(0, 2, 3, 1, 4)
    quads = np.ascontiguousarray(cut).reshape(tiles(rows), -1, 8, 64)
    if bits == PLAIN_BITS:
        blocks = quads
    elif bits == 4:
        blocks = quads[:, :, 0::2] | _left(quads[:, :, 1::2], 4)
    else:
        blocks = _pairs_of_bits(quads & np.uint8(3))
    if bits == 3:
        high = np.zeros_like(blocks[:, :, :1])
        for quad, at in enumerate(_HIGH_BIT):
            high[:, :, 0] |= _left(np.right_shift(quads[:, :, quad], 2, dtype=np.uint8), at)
        blocks = np.concatenate([blocks, high], axis=2)
    return np.ascontiguousarray(blocks).reshape(tiles(rows), -1, 64 * bits)


def _pairs_of_bits(quads: Bytes) -> Bytes:
    """Four quads to a block, two bits each, the first lowest."""
    fours = quads.reshape(*quads.shape[:2], 2, 4, 64)
    joined = np.zeros_like(fours[:, :, :, 0])
    for at in range(4):
        joined |= _left(fours[:, :, :, at], 2 * at)
    return joined


def _left(codes: Bytes, by: int) -> Bytes:
    return np.left_shift(codes, np.uint8(by), dtype=np.uint8)


def unpack_codes(packed: Bytes, bits: int) -> Bytes:
    """The inverse: codes with their padding, (16 * tiles, padded columns)."""
    blocks = packed.reshape(*packed.shape[:2], bits, 64)
    quads: Bytes
    if bits == PLAIN_BITS:
        quads = blocks
    elif bits == 4:
        quads = np.stack([blocks & np.uint8(15), blocks >> 4], axis=3).reshape(
            *packed.shape[:2], 8, 64
        )
    else:
        shifts = (2 * np.arange(4, dtype=np.uint8))[:, None]
        low = blocks[:, :, :2, None] >> shifts & np.uint8(3)
        quads = low.reshape(*packed.shape[:2], 8, 64)
    if bits == 3:
        places = np.array(_HIGH_BIT, np.uint8)[:, None]
        quads = quads | _left(blocks[:, :, 2, None] >> places & np.uint8(1), 2)
    cut = quads.reshape(packed.shape[0], -1, 8, TILE, 4).transpose(0, 3, 1, 2, 4)
    return np.ascontiguousarray(cut).reshape(packed.shape[0] * TILE, -1)


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Nearest bfloat16, ties to even, as its bits. Finite values only."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)
