"""What making and restoring share: the order of the matrices, and the grid of each weight."""

from collections.abc import Iterator

import numpy as np

from inference.architectures import DecoderConfig, DecoderWeights
from inference.deltas.prediction import Rows
from inference.matrix import Matrix
from inference.packing.kept import layer_matrices
from lanai.errors import UsageError

__all__ = ["body_matrices", "grid_by_column", "other_model"]


def body_matrices(config: DecoderConfig, weights: DecoderWeights) -> Iterator[tuple[str, Matrix]]:
    for index in range(config.layers):
        yield from layer_matrices(config, weights, index)


def grid_by_column(
    row_scale: Rows, scales: Rows, offsets: Rows | None, group: int
) -> tuple[Rows, Rows | None]:
    """Step and offset of every weight."""
    steps = np.repeat(row_scale[:, None] * scales, group, axis=1)
    return steps, None if offsets is None else np.repeat(offsets, group, axis=1)


def other_model() -> UsageError:
    return UsageError(
        "the packed model was not made of this source",
        hint="name the source that `lanai models show` says, unchanged",
    )
