"""The calibration text, and the moments of what flows through a model that reads it."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Final

import torch
from torch import Tensor

from inference.text import TextModel
from lanai.errors import UsageError

__all__ = ["WINDOW", "Moments", "bundled_text", "second_moments", "windows"]

WINDOW: Final = 512


def bundled_text() -> str:
    """Text the default model wrote itself (``bench/calibration_text.py``): no evaluation data."""
    return resources.files("inference.packing").joinpath("calibration.txt").read_text("utf-8")


def windows(text: TextModel, source: str, count: int, *, length: int = WINDOW) -> list[Tensor]:
    """The first ``count`` windows of ids, (length,) each; fewer when the text is shorter."""
    ids = text.encode(source)
    lead = () if text.bos_id is None else (text.bos_id,)
    step = length - len(lead)
    found = [
        torch.tensor([*lead, *ids[first : first + step]])
        for first in range(0, min(len(ids) - step + 1, count * step), step)
    ]
    if not found:
        raise UsageError(
            f"the calibration text has {len(ids)} tokens, at least {step} are needed",
            hint="give a longer text",
        )
    return found


@dataclass(slots=True, kw_only=True)
class Moments:
    """Sums over rows: of squares of what enters a matrix, and of the loss's slopes at its output.

    float32, (columns,) and (rows,).
    """

    inputs: Tensor
    slopes: Tensor
    count: int = 0

    @classmethod
    def zero(cls, rows: int, columns: int) -> "Moments":
        return cls(inputs=torch.zeros(columns), slopes=torch.zeros(rows))


def second_moments(pieces: Iterable[Tensor]) -> Tensor:
    """E[x x^T] over the rows of all pieces, float32, (columns, columns)."""
    total: Tensor | None = None
    count = 0
    for piece in pieces:
        product = piece.T.float() @ piece.float()
        total = product if total is None else total.add_(product)
        count += piece.shape[0]
    if total is None:
        raise UsageError("there is nothing to calibrate with", hint="give a longer text")
    return total / count
