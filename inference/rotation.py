"""Tables of rotary position embedding."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.architectures.config import Rope
from lanai.errors import ModelFormatError

__all__ = ["RotationTable", "rotation"]

Floats = NDArray[np.float32]


class RotationTable:
    """Cosine and signed sine of every position, shape (positions, 1, head width)."""

    def __init__(
        self,
        rope: Rope,
        head_width: int,
        positions: int,
        dtype: torch.dtype,
        *,
        factors: Tensor | None = None,
    ) -> None:
        """``factors`` divide the frequencies, shape (head width / 2,): GGUF's form of scaling."""
        divided = None if factors is None else factors.numpy()
        tables = rotation(rope, head_width, positions, factors=divided)
        cosine, sine = (torch.from_numpy(table) for table in tables)
        self._cosine = torch.cat([cosine, cosine], -1).to(dtype)[:, None]
        # The sign of the half that is swapped in is folded into the sine.
        self._sine = torch.cat([-sine, sine], -1).to(dtype)[:, None]

    def to(self, device: torch.device) -> "RotationTable":
        self._cosine, self._sine = self._cosine.to(device), self._sine.to(device)
        return self

    def halves(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the first half of a head, (positions, head width / 2), contiguous."""
        half = self._cosine.shape[-1] // 2
        return self._cosine[:, 0, :half].contiguous(), -self._sine[:, 0, :half].contiguous()

    def rotate(self, x: Tensor, start: int) -> Tensor:
        """Rotate heads, shape (n, heads, head width), that stand at ``start`` and after."""
        rows = slice(start, start + x.shape[0])
        return _rotated(x, self._cosine[rows], self._sine[rows])

    def rotate_rows(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate heads of unrelated tokens; ``positions``: int64, shape (n,)."""
        return _rotated(x, self._cosine[positions], self._sine[positions])


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], -1)
    return torch.addcmul(x * cosine, swapped, sine)


def rotation(
    rope: Rope, head_width: int, positions: int, *, factors: Floats | None = None
) -> tuple[Floats, Floats]:
    """Cosine and sine, float32, (positions, head width / 2) each; ``factors`` as above.

    Without torch, whose first few operations alone bring 7 MB of its code into memory. Raises
    ``ModelFormatError`` for settings or factors that give no angles.
    """
    if factors is not None and factors.shape != (head_width // 2,):
        raise ModelFormatError("the model's rotary factors are not one for each pair of a head")
    # Numbers that lie overflow on the way; the result is checked instead of each step.
    with np.errstate(all="ignore"):
        frequencies = _frequencies(rope, head_width)
        if factors is not None:
            frequencies = frequencies / factors
        angles = np.outer(np.arange(positions, dtype=np.float32), frequencies).astype(np.float64)
    if not np.isfinite(angles).all():
        raise ModelFormatError("the model's rotary settings or factors give no angles")
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _frequencies(rope: Rope, head_width: int) -> Floats:
    """Radians by position, (head width / 2,)."""
    exponents = np.arange(0, head_width, 2, dtype=np.float32) / np.float32(head_width)
    base = 1 / np.float32(rope.theta) ** exponents
    if rope.low_frequency is None or rope.high_frequency is None:
        return _float32(base / rope.factor)
    # Llama 3: wavelengths beyond original/low are stretched, below original/high kept, and
    # blended between.
    turns = rope.original_context * base / (2 * math.pi)
    blend = (turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency)
    kept = blend.clip(0, 1)
    return _float32(base * kept + base / rope.factor * (1 - kept))


def _float32(values: NDArray[np.floating]) -> Floats:
    return values.astype(np.float32)
