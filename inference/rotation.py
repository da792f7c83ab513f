"""Tables of rotary position embedding."""

import math

import torch
from torch import Tensor

from inference.architectures.config import Rope

__all__ = ["RotationTable"]


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
        frequencies = _frequencies(rope, head_width)
        if factors is not None:
            frequencies = frequencies / factors
        angles = torch.outer(torch.arange(positions).float(), frequencies)
        self._cosine = torch.cat([angles.cos(), angles.cos()], -1).to(dtype)[:, None]
        # The sign of the half that is swapped in is folded into the sine.
        self._sine = torch.cat([-angles.sin(), angles.sin()], -1).to(dtype)[:, None]

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


def _frequencies(rope: Rope, head_width: int) -> Tensor:
    """Radians by position, float32, shape (head width / 2,)."""
    exponents = torch.arange(0, head_width, 2).float() / head_width
    base = 1 / rope.theta**exponents
    if rope.low_frequency is None or rope.high_frequency is None:
        return base / rope.factor
    # Llama 3: wavelengths beyond original/low are stretched, below original/high kept, and
    # blended between.
    turns = rope.original_context * base / (2 * math.pi)
    blend = (turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency)
    kept = blend.clamp(0, 1)
    return base * kept + base / rope.factor * (1 - kept)
