"""Causal attention of new tokens over a cache, with shared key/value heads and sliding windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from inference.architectures.config import LayerShape
from inference.cache import Cache
from inference.lifting import UNCHANGED, LayerLift, lifted
from inference.linear import Linear
from inference.rotation import RotationTable

__all__ = ["Attention", "Norm"]


class Norm:
    """RMS norm over the last dimension (Zhang & Sennrich 2019)."""

    def __init__(self, factors: Tensor, epsilon: float) -> None:
        self._factors = factors
        self._epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self._factors.shape[-1:], self._factors, self._epsilon)


@dataclass(slots=True, kw_only=True)
class Attention:
    """One layer's attention. ``norm_q``, ``norm_k`` norm single heads; ``scale`` is of products."""

    layer: int
    shape: LayerShape
    qkv: Linear
    output: Linear
    rotation: RotationTable
    norm_q: Norm | None = None
    norm_k: Norm | None = None
    scale: float | None = None

    def __call__(self, x: Tensor, cache: Cache, lift: LayerLift = UNCHANGED) -> Tensor:
        """``x``: the tokens after ``cache.length``, (n, width). Stores their keys and values."""
        qk, v = self._project(x, lift)
        q, k = self._apart(self.rotation.rotate(qk, cache.length))
        cache.store(self.layer, k.transpose(0, 1), v.transpose(0, 1))
        seen = self._one(q, cache) if x.shape[0] == 1 else self._many(q, cache)
        return lifted(seen, self.output(seen), lift.output)

    def rows(
        self,
        x: Tensor,
        caches: Sequence[Cache],
        positions: Tensor,
        lift: LayerLift = UNCHANGED,
    ) -> Tensor:
        """One token of each of n sequences, (n, width); each looks at its own cache only."""
        qk, v = self._project(x, lift)
        q, k = self._apart(self.rotation.rotate_rows(qk, positions))
        seen = []
        for row, cache in enumerate(caches):
            own = slice(row, row + 1)
            cache.store(self.layer, k[own].transpose(0, 1), v[own].transpose(0, 1))
            seen.append(self._one(q[own], cache))
        together = torch.cat(seen)
        return lifted(together, self.output(together), lift.output)

    def _project(self, x: Tensor, lift: LayerLift) -> tuple[Tensor, Tensor]:
        """Queries with keys, normed and not yet rotated, and values; (n, heads, head width)."""
        shape = self.shape
        qkv = lifted(x, self.qkv(x), lift.qkv)
        heads = qkv.view(x.shape[0], shape.heads + 2 * shape.kv_heads, shape.head_width)
        q, k, v = torch.split(heads, [shape.heads, shape.kv_heads, shape.kv_heads], 1)
        if self.norm_q and self.norm_k:
            return torch.cat([self.norm_q(q), self.norm_k(k)], 1), v
        return heads[:, : shape.heads + shape.kv_heads], v

    def _apart(self, qk: Tensor) -> tuple[Tensor, Tensor]:
        q, k = torch.split(qk, [self.shape.heads, self.shape.kv_heads], 1)
        return q, k

    def _one(self, q: Tensor, cache: Cache) -> Tensor:
        """A single token sees all of its window, so query heads of one key head need no mask."""
        shape, end = self.shape, cache.length + 1
        first = max(0, end - shape.window) if shape.window else 0
        grouped = q.view(1, shape.kv_heads, -1, shape.head_width)
        seen = functional.scaled_dot_product_attention(
            grouped,
            cache.keys[self.layer][None, :, first:end],
            cache.values[self.layer][None, :, first:end],
            scale=self.scale,
        )
        return seen.reshape(1, shape.attention_width)

    def _many(self, q: Tensor, cache: Cache) -> Tensor:
        """Several tokens: each sees the past and those of its own that are not after it."""
        shape, start, count = self.shape, cache.length, q.shape[0]
        end = start + count
        first = max(0, start + 1 - shape.window) if shape.window else 0
        plain = start == 0 and not (shape.window and count > shape.window)
        seen = functional.scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            cache.keys[self.layer][None, :, first:end],
            cache.values[self.layer][None, :, first:end],
            attn_mask=None if plain else _mask(first, start, end, shape.window, q),
            is_causal=plain,
            scale=self.scale,
            enable_gqa=True,
        )
        return seen[0].transpose(0, 1).reshape(count, shape.attention_width)


def _mask(first: int, start: int, end: int, window: int | None, like: Tensor) -> Tensor:
    """Added to products, (end-start, end-first): 0 where a token may look, else minus infinity."""
    at = torch.arange(start, end, device=like.device)[:, None]
    of = torch.arange(first, end, device=like.device)
    allowed = of <= at
    if window:
        allowed &= of > at - window
    return torch.zeros(allowed.shape, dtype=like.dtype, device=like.device).masked_fill_(
        ~allowed, float("-inf")
    )
