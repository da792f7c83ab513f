"""From token ids to the residual stream."""

import torch
from torch import Tensor
from torch.nn import functional

from inference.linear import Int8Linear

__all__ = ["Embedding"]


class Embedding:
    """A row for each token, times ``factor``: ``rows`` as they compute, or int8 with row scales."""

    def __init__(
        self, rows: Tensor, row_scale: Tensor | None = None, *, factor: float = 1.0
    ) -> None:
        self._rows = rows
        self._row_scale = row_scale
        self._factor = factor

    @classmethod
    def of_int8(cls, table: Int8Linear, *, factor: float = 1.0) -> "Embedding":
        """The same numbers as ``table``, which is the output matrix of a model that shares both."""
        return cls(table.values, table.scale, factor=factor)

    def __call__(self, ids: Tensor) -> Tensor:
        """(n,) to (n, width)."""
        rows = functional.embedding(ids, self._rows)
        if self._row_scale is not None:
            rows = rows.to(self._row_scale.dtype) * self._row_scale[ids, None]
        return rows if self._factor == 1.0 else rows * torch.tensor(self._factor, dtype=rows.dtype)
