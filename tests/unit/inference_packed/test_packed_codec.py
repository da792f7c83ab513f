"""The codec: codes survive the file's layout, and the layout is the one in the document."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.formats.packed_matrix import (
    BITS,
    from_bfloat16,
    pack_codes,
    to_bfloat16,
    unpack_codes,
)
from inference.testing.random_packed import random_matrix

sizes = st.integers(1, 70)


@given(rows=sizes, columns=sizes, bits=st.sampled_from(BITS), group=st.sampled_from((32, 64)))
@settings(deadline=None, max_examples=60)
def test_codes_come_back(rows: int, columns: int, bits: int, group: int) -> None:
    """Packing and unpacking gives the same codes, and code 0 in the padding."""
    random = np.random.default_rng(rows * 71 + columns)
    codes = random.integers(0, 1 << bits, (rows, columns)).astype(np.uint8)
    back = unpack_codes(pack_codes(codes, bits, group), bits)
    assert (back[:rows, :columns] == codes).all()
    assert back.sum() == codes.sum(dtype=np.uint64)


@pytest.mark.parametrize(
    ("bits", "row", "column", "byte", "shift"),
    [
        (4, 0, 0, 0, 0),
        (4, 3, 2, 3 * 4 + 2, 0),
        (4, 0, 4, 0, 4),  # the second quad is the high half of the first block
        (4, 1, 9, 64 + 1 * 4 + 1, 0),
        (2, 0, 12, 0, 6),
        (2, 5, 16, 64 + 5 * 4, 0),
        (8, 2, 5, 64 + 2 * 4 + 1, 0),
        (3, 0, 8, 0, 4),
    ],
)
def test_a_code_lies_where_the_document_says(
    bits: int, row: int, column: int, byte: int, shift: int
) -> None:
    """One code of 1 in a unit sets one bit, at the byte and shift of docs/packed-format.md."""
    codes = np.zeros((16, 32), np.uint8)
    codes[row, column] = 1
    packed = pack_codes(codes, bits, 32).ravel()
    assert packed[byte] == 1 << shift
    assert packed.sum() == 1 << shift


def test_the_high_bits_of_three_lie_where_the_document_says() -> None:
    """Code 4 in quad i sets bit 2, 0, 3, 1, 4, 5, 6, 7 of the third block."""
    for quad, bit in enumerate((2, 0, 3, 1, 4, 5, 6, 7)):
        codes = np.zeros((16, 32), np.uint8)
        codes[7, 4 * quad + 3] = 4
        packed = pack_codes(codes, 3, 32).ravel()
        assert packed[128 + 7 * 4 + 3] == 1 << bit
        assert packed.sum() == 1 << bit


def test_a_weight_is_what_the_formula_says() -> None:
    """row scale * group scale * (palette[code] + offset), rows and columns any slice."""
    matrix = random_matrix(np.random.default_rng(1), 37, 45, 3, 32, offsets=True)
    assert matrix.palette is not None
    assert matrix.scales is not None
    assert matrix.offsets is not None
    codes = unpack_codes(matrix.codes, 3)
    rows = from_bfloat16(matrix.row_scale)
    dense = matrix.dense_rows(20, 37)
    for row, column in ((20, 0), (31, 44), (36, 33)):
        tile, lane, group = row // 16, row % 16, column // 32
        expected = (
            rows[row]
            * float(matrix.scales[tile, group, lane])
            * (float(matrix.palette[codes[row, column]]) + float(matrix.offsets[tile, group, lane]))
        )
        assert dense[row - 20, column] == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=20))
def test_bfloat16_is_the_nearest(values: list[float]) -> None:
    """No neighbour in bfloat16 is nearer than the one that was chosen."""
    exact = np.array(values, np.float32)
    bits = to_bfloat16(exact)
    chosen = np.abs(from_bfloat16(bits).astype(np.float64) - exact)
    for step in (-1, 1):
        other = from_bfloat16((bits.astype(np.int32) + step).astype(np.uint16)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            assert not (np.abs(other - exact) < chosen).any()
