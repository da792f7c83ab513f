"""An adapter's numbers in 8 bits: one scale for each row, symmetric."""

import numpy as np
from numpy.typing import NDArray

from inference.formats.packed_matrix import from_bfloat16, to_bfloat16

__all__ = ["to_int8_rows"]


def to_int8_rows(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes, (rows, columns), and the scales of rows, (rows,).

    Scales are bfloat16 numbers, as the kernels hold them, so that rounding what was rounded
    changes nothing: the adapter a file holds in 8 bits is the one that runs.
    """
    largest = np.abs(values).max(axis=1)
    scale = from_bfloat16(to_bfloat16((largest / 127).astype(np.float32)))
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 1e-30)
    codes = np.rint(values * inverse[:, None]).clip(-127, 127).astype(np.int8)
    return codes, np.where(inverse > 0, scale, 0).astype(np.float32)
