"""An adapter in memory: pairs of low-rank matrices by the names packed matrices go by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.architectures.config import DecoderConfig

__all__ = ["MAX_RANK", "PARTS", "Adapter", "LowRank", "matrix_shapes"]

MAX_RANK: Final = 256
PARTS: Final = ("q", "k", "v", "output", "gate", "up", "down")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LowRank:
    """A change ``B A`` of one matrix. ``a``: float32, (r, columns); ``b``: float32, (rows, r)."""

    a: NDArray[np.float32] = field(repr=False)
    b: NDArray[np.float32] = field(repr=False)

    @property
    def bytes(self) -> int:
        return self.a.nbytes + self.b.nbytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """``y = W x + scale * B (A x)`` for each matrix that ``matrices`` names.

    Names are ``layers.N.q|k|v|output|gate|up|down``; rows of q and k stand as in Hugging Face
    files. ``chat_template`` and ``stop`` are those it was trained with, where it says so.
    """

    name: str
    rank: int
    alpha: float
    matrices: Mapping[str, LowRank] = field(repr=False)
    chat_template: str | None = None
    stop: tuple[str, ...] | None = None

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def bytes(self) -> int:
        """Of all pairs in float32."""
        return sum(pair.bytes for pair in self.matrices.values())


def matrix_shapes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """(rows, columns) of every matrix of the base that an adapter may change."""
    width = config.width
    shapes: dict[str, tuple[int, int]] = {}
    for layer, shape in enumerate(config.shapes):
        wide, narrow, inner = shape.attention_width, shape.kv_width, shape.ffn_width
        sizes = (
            (wide, width),
            (narrow, width),
            (narrow, width),
            (width, wide),
            (inner, width),
            (inner, width),
            (width, inner),
        )
        shapes |= {f"layers.{layer}.{p}": s for p, s in zip(PARTS, sizes, strict=True)}
    return shapes
