"""The forward pass of ``inference.decoder`` once more, differentiable and for batches of sequences.

Weights are frozen, and come from any model that can be loaded: a packed file gives the numbers it
stands for. The residual stream and the norms are float32, products are in the weights' type. There
is no cache: a training sequence is seen whole. Padding goes behind a sequence, where causal
attention keeps it from being seen.

Token ids are user content: nothing here logs or raises them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

from inference.architectures import DecoderConfig, DecoderWeights, LayerShape
from inference.linear import dense_copy
from inference.loading import load_source
from inference.rotation import RotationTable
from inference.training.low_rank import Changes
from lanai.errors import UsageError

__all__ = ["TrainableDecoder"]

MAX_POSITIONS: Final = 8192
Rotation = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FrozenLayer:
    """Matrices, (rows, columns), in the products' type; norms' factors, float32."""

    rotation: Rotation
    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    output: Tensor
    attention_post_norm: Tensor | None
    ffn_norm: Tensor
    gate_up: Tensor
    down: Tensor
    ffn_post_norm: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainableDecoder:
    """A model whose answer to changes of its matrices can be differentiated.

    ``embedding``, ``head``: (vocabulary, width), one tensor where the model shares them.
    """

    config: DecoderConfig
    embedding: Tensor
    head: Tensor
    layers: tuple[FrozenLayer, ...]
    final_norm: Tensor

    @classmethod
    def load(
        cls, path: Path, *, precision: Literal["bfloat16", "float32"] = "bfloat16"
    ) -> "TrainableDecoder":
        """The model at ``path``, source or packed. Raises as ``load_decoder`` does."""
        decoder, weights = load_source(path, precision=precision)
        return cls.of(decoder.config, weights, getattr(torch, precision))

    @classmethod
    def of(
        cls, config: DecoderConfig, weights: DecoderWeights, dtype: torch.dtype
    ) -> "TrainableDecoder":
        size = (config.vocabulary, config.width)
        with torch.no_grad():
            embedding = dense_copy(weights.matrix("embedding", size), dtype)
            own_head = weights.has("head")
            return cls(
                config=config,
                embedding=embedding,
                head=dense_copy(weights.matrix("head", size), dtype) if own_head else embedding,
                layers=tuple(
                    _frozen(config, weights, layer, dtype) for layer in range(config.layers)
                ),
                final_norm=weights.norm("final_norm", config.width),
            )

    @property
    def dtype(self) -> torch.dtype:
        """Of products."""
        return self.head.dtype

    def hidden(self, ids: Tensor, changes: Changes | None = None) -> Tensor:
        """States after the final norm, float32, (sequences, n, width).

        ``ids``: int64, (sequences, n). Raises ``UsageError`` for sequences that are too long.
        """
        longest = min(MAX_POSITIONS, self.config.max_context)
        if ids.shape[1] > longest:
            raise UsageError(f"a training sequence has at most {longest} tokens")
        x = self.embedded(ids)
        for index in range(len(self.layers)):
            x = self.block(index, x, changes)
        return self.final(x)

    def block(self, index: int, x: Tensor, changes: Changes | None = None) -> Tensor:
        """The residual stream behind layer ``index``, of that before it."""
        x = x + self.attended(index, x, changes)
        return x + self.fed(index, x, changes)

    def final(self, x: Tensor) -> Tensor:
        """States after the final norm, of the stream behind the last layer."""
        return self._norm(x, self.final_norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """float32, (…, vocabulary), of some states: all at once would be large."""
        return functional.linear(hidden.to(self.dtype), self.head).float()

    def embedded(self, ids: Tensor) -> Tensor:
        """The residual stream before the first layer, float32, (sequences, n, width)."""
        return functional.embedding(ids, self.embedding).float() * self.config.embedding_scale

    def attended(self, index: int, x: Tensor, changes: Changes | None = None) -> Tensor:
        """What attention of layer ``index`` adds to the residual stream ``x``."""
        layer, shape = self.layers[index], self.config.shapes[index]
        states = self._norm(x, layer.attention_norm).to(self.dtype)
        whole = functional.linear(states, layer.qkv, layer.qkv_bias)
        if changes:
            whole = changes.changed(index, "qkv", states, whole)
        heads = whole.view(*x.shape[:2], -1, shape.head_width).transpose(1, 2)
        q, k, v = torch.split(heads, [shape.heads, shape.kv_heads, shape.kv_heads], 1)
        q, k = self._turned(q, layer.q_norm, layer), self._turned(k, layer.k_norm, layer)
        mask = _mask(shape.window, x.shape[1])
        seen = functional.scaled_dot_product_attention(
            q,
            _repeated(k, shape),
            _repeated(v, shape),
            attn_mask=mask,
            is_causal=mask is None,
            scale=self.config.query_scale,
        )
        mixed = seen.transpose(1, 2).reshape(*x.shape[:2], shape.attention_width)
        out = functional.linear(mixed, layer.output)
        if changes:
            out = changes.changed(index, "output", mixed, out)
        return self._post(out, layer.attention_post_norm)

    def _turned(self, heads: Tensor, norm: Tensor | None, layer: FrozenLayer) -> Tensor:
        """Heads, (sequences, heads, n, head width), normed where the family does, and rotated."""
        wide = heads.float()
        if norm is not None:
            wide = self._norm(wide, norm)
        cosine, sine = (table[: heads.shape[2]] for table in layer.rotation)
        first, second = wide.chunk(2, -1)
        turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)
        return turned.to(self.dtype)

    def fed(self, index: int, x: Tensor, changes: Changes | None = None) -> Tensor:
        """What the feed-forward part of layer ``index`` adds to the residual stream ``x``."""
        layer = self.layers[index]
        states = self._norm(x, layer.ffn_norm).to(self.dtype)
        both = functional.linear(states, layer.gate_up)
        if changes:
            both = changes.changed(index, "gate_up", states, both)
        gate, up = both.chunk(2, -1)
        if self.config.activation == "silu":
            inner = functional.silu(gate) * up
        else:
            inner = functional.gelu(gate, approximate="tanh") * up
        out = functional.linear(inner, layer.down)
        if changes:
            out = changes.changed(index, "down", inner, out)
        return self._post(out, layer.ffn_post_norm)

    def _post(self, change: Tensor, norm: Tensor | None) -> Tensor:
        return change.float() if norm is None else self._norm(change.float(), norm)

    def _norm(self, x: Tensor, factors: Tensor) -> Tensor:
        return functional.rms_norm(x, factors.shape, factors, self.config.norm_epsilon)


def _frozen(
    config: DecoderConfig, weights: DecoderWeights, index: int, dtype: torch.dtype
) -> FrozenLayer:
    width, shape = config.width, config.shapes[index]
    qkv, bias = weights.qkv(width, shape, index)

    def norm(part: str, size: int, *, there: bool = True) -> Tensor | None:
        return weights.norm(part, size, index) if there else None

    return FrozenLayer(
        rotation=_rotation(config, weights, shape),
        attention_norm=weights.norm("attention_norm", width, index),
        qkv=dense_copy(qkv, dtype),
        qkv_bias=None if bias is None else bias.to(dtype),
        q_norm=norm("q_norm", shape.head_width, there=config.qk_norm),
        k_norm=norm("k_norm", shape.head_width, there=config.qk_norm),
        output=dense_copy(weights.matrix("output", (width, shape.attention_width), index), dtype),
        attention_post_norm=norm("attention_post_norm", width, there=config.sandwich_norms),
        ffn_norm=weights.norm("ffn_norm", width, index),
        gate_up=dense_copy(weights.gate_up(width, shape, index), dtype),
        down=dense_copy(weights.matrix("down", (width, shape.ffn_width), index), dtype),
        ffn_post_norm=norm("ffn_post_norm", width, there=config.sandwich_norms),
    )


def _rotation(config: DecoderConfig, weights: DecoderWeights, shape: LayerShape) -> Rotation:
    """Cosine and sine of the first half of a head, float32, (positions, head width / 2)."""
    factors = None
    if weights.has("rope_factors"):
        factors = weights.vector("rope_factors", shape.head_width // 2)
    positions = min(MAX_POSITIONS, config.max_context)
    table = RotationTable(shape.rope, shape.head_width, positions, torch.float32, factors=factors)
    return table.halves()


def _mask(window: int | None, count: int) -> Tensor | None:
    """What a token may look at, bool, (count, count); ``None``: all before it."""
    if window is None or window >= count:
        return None
    at = torch.arange(count)
    behind = at[:, None] - at
    return (behind >= 0) & (behind < window)


def _repeated(heads: Tensor, shape: LayerShape) -> Tensor:
    """Key or value heads, once for each query head that shares them."""
    return heads.repeat_interleave(shape.heads // shape.kv_heads, 1)
