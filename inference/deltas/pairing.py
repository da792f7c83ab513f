"""What making and restoring a delta share: the grid of each weight, and one error."""

import numpy as np

from inference.deltas.prediction import Rows
from lanai.errors import UsageError

__all__ = ["grid_by_column", "other_model"]


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
