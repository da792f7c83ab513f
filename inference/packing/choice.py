"""What packing and profiles choose by: columns of a group, and what each way does to a matrix.

A matrix on a 4-bit grid of 32 columns keeps its codes in the way ``KEPT``; every other way rounds.
"""

from typing import Final

from torch import Tensor

from inference.architectures import DecoderConfig, DecoderWeights
from inference.matrix import GRID_GROUP, GridMatrix
from inference.packing.body import group_of
from inference.packing.kept import KEPT, kept_grid, layer_matrices
from inference.packing.quantizer import Way, rounded

__all__ = ["cost", "grids_of", "group_for", "roughly_held"]

# Where most codes of a grid can be kept: at 4.25 bits perplexity 15.95, with groups of 64 16.49.
KEEPING_BITS: Final = 4.0


def group_for(config: DecoderConfig, weights: DecoderWeights, bits: float) -> int:
    """Columns of a group at ``bits``: from 4 on those of the source's 4-bit grid, if it has one,
    otherwise 64 where that fits."""
    return GRID_GROUP if bits >= KEEPING_BITS and grids_of(config, weights, 0) else group_of(config)


def grids_of(config: DecoderConfig, weights: DecoderWeights, index: int) -> dict[str, GridMatrix]:
    """The matrices of a layer whose source is on a 4-bit grid."""
    matrices = layer_matrices(config, weights, index)
    return {name: matrix for name, matrix in matrices if isinstance(matrix, GridMatrix)}


def roughly_held(weight: Tensor, grid: GridMatrix | None, inputs: Tensor, way: Way) -> Tensor:
    """``weight`` as ``way`` holds it, no error made up for, float32, (rows, columns).

    ``grid``: what it lies on, if anything. ``inputs``: (columns,), how much each column matters.
    """
    if way == KEPT and grid is not None:
        return kept_grid(grid).dense(way.group)
    return rounded(weight, inputs, way)


def cost(error: Tensor, inputs: Tensor, slopes: Tensor) -> float:
    """What an error, (rows, columns), would cost the loss, weighed as ``sensitivity`` says.

    ``inputs``: (columns,); ``slopes``: (rows,).
    """
    return float(slopes @ (error.square() @ inputs))
