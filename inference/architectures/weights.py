"""One name for each weight, whatever the file calls it and however the file lays it out.

Layouts that differ:
    - GGUF stores query and key rows of the Llama family with rotation pairs side by side; here,
      as in Hugging Face files, the two halves of a head rotate against each other.
    - Gemma's norms scale by (1 + w). Hugging Face files hold w, GGUF files 1 + w.
    - OpenELM fuses query, key and value, and gate and up.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from inference.architectures.config import DecoderConfig, LayerShape
from inference.formats.sources import TensorSource
from inference.matrix import Matrix, stack_rows
from lanai.errors import ModelFormatError

__all__ = ["DecoderWeights"]

_GGUF: Mapping[str, str] = {
    "embedding": "token_embd.weight",
    "head": "output.weight",
    "final_norm": "output_norm.weight",
    "rope_factors": "rope_freqs.weight",
    "attention_norm": "blk.{}.attn_norm.weight",
    "q": "blk.{}.attn_q.weight",
    "k": "blk.{}.attn_k.weight",
    "v": "blk.{}.attn_v.weight",
    "q_bias": "blk.{}.attn_q.bias",
    "k_bias": "blk.{}.attn_k.bias",
    "v_bias": "blk.{}.attn_v.bias",
    "q_norm": "blk.{}.attn_q_norm.weight",
    "k_norm": "blk.{}.attn_k_norm.weight",
    "output": "blk.{}.attn_output.weight",
    "attention_post_norm": "blk.{}.post_attention_norm.weight",
    "ffn_norm": "blk.{}.ffn_norm.weight",
    "gate": "blk.{}.ffn_gate.weight",
    "up": "blk.{}.ffn_up.weight",
    "down": "blk.{}.ffn_down.weight",
    "ffn_post_norm": "blk.{}.post_ffw_norm.weight",
}
_LLAMA: Mapping[str, str] = {
    "embedding": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm": "model.norm.weight",
    "attention_norm": "model.layers.{}.input_layernorm.weight",
    "q": "model.layers.{}.self_attn.q_proj.weight",
    "k": "model.layers.{}.self_attn.k_proj.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "q_bias": "model.layers.{}.self_attn.q_proj.bias",
    "k_bias": "model.layers.{}.self_attn.k_proj.bias",
    "v_bias": "model.layers.{}.self_attn.v_proj.bias",
    "q_norm": "model.layers.{}.self_attn.q_norm.weight",
    "k_norm": "model.layers.{}.self_attn.k_norm.weight",
    "output": "model.layers.{}.self_attn.o_proj.weight",
    "ffn_norm": "model.layers.{}.post_attention_layernorm.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
}
_GEMMA: Mapping[str, str] = {
    **_LLAMA,
    "attention_post_norm": "model.layers.{}.post_attention_layernorm.weight",
    "ffn_norm": "model.layers.{}.pre_feedforward_layernorm.weight",
    "ffn_post_norm": "model.layers.{}.post_feedforward_layernorm.weight",
}
_OPENELM: Mapping[str, str] = {
    "embedding": "transformer.token_embeddings.weight",
    "head": "lm_head.weight",
    "final_norm": "transformer.norm.weight",
    "attention_norm": "transformer.layers.{}.attn_norm.weight",
    "qkv": "transformer.layers.{}.attn.qkv_proj.weight",
    "q_norm": "transformer.layers.{}.attn.q_norm.weight",
    "k_norm": "transformer.layers.{}.attn.k_norm.weight",
    "output": "transformer.layers.{}.attn.out_proj.weight",
    "ffn_norm": "transformer.layers.{}.ffn_norm.weight",
    "gate_up": "transformer.layers.{}.ffn.proj_1.weight",
    "down": "transformer.layers.{}.ffn.proj_2.weight",
}
_HUGGING_FACE = {"gemma3_text": _GEMMA, "openelm": _OPENELM}
# Packed files go by our own names; every family's tensors are in our own layout there.
_PACKED: Mapping[str, str] = {
    part: f"layers.{{}}.{part}" if "{}" in name else part for part, name in _GGUF.items()
}


class DecoderWeights:
    """A decoder's weights by our names, in our layout, their shapes checked."""

    def __init__(
        self,
        source: TensorSource,
        names: Mapping[str, str],
        *,
        paired_rotation: bool = False,
        norm_offset: float = 0.0,
    ) -> None:
        self._source = source
        self._names = names
        self._paired_rotation = paired_rotation
        self._norm_offset = norm_offset

    @classmethod
    def of_gguf(cls, source: TensorSource, config: DecoderConfig) -> "DecoderWeights":
        return cls(source, _GGUF, paired_rotation=config.architecture == "llama")

    @classmethod
    def of_huggingface(cls, source: TensorSource, config: DecoderConfig) -> "DecoderWeights":
        names = _HUGGING_FACE.get(config.architecture, _LLAMA)
        return cls(source, names, norm_offset=float(config.architecture == "gemma3_text"))

    @classmethod
    def of_packed(cls, source: TensorSource) -> "DecoderWeights":
        return cls(source, _PACKED)

    def has(self, part: str, layer: int = 0) -> bool:
        return part in self._names and self._source.has(self._names[part].format(layer))

    def matrix(self, part: str, shape: tuple[int, int], layer: int = 0) -> Matrix:
        """Raises ``ModelFormatError`` when the tensor is missing or of another shape."""
        name = self._name(part, layer)
        matrix = self._source.matrix(name)
        if matrix.shape != shape:
            raise ModelFormatError(f"tensor {name!r} has shape {matrix.shape}, not {shape}")
        return matrix

    def vector(self, part: str, size: int, layer: int = 0) -> Tensor:
        """float32, shape (size,). Raises ``ModelFormatError`` likewise."""
        name = self._name(part, layer)
        vector = self._source.vector(name)
        if vector.shape != (size,):
            raise ModelFormatError(
                f"tensor {name!r} has shape {tuple(vector.shape)}, not ({size},)"
            )
        return vector

    def norm(self, part: str, size: int, layer: int = 0) -> Tensor:
        """The factors of an RMS norm, float32, shape (size,)."""
        return self.vector(part, size, layer) + self._norm_offset

    def qkv(self, width: int, shape: LayerShape, layer: int) -> tuple[Matrix, Tensor | None]:
        """Queries, keys and values below each other, and their bias."""
        if self.has("qkv", layer):
            rows = shape.attention_width + 2 * shape.kv_width
            return self.matrix("qkv", (rows, width), layer), None
        parts, bias = self.qkv_parts(width, shape, layer)
        return stack_rows(parts), bias

    def qkv_parts(
        self, width: int, shape: LayerShape, layer: int
    ) -> tuple[list[Matrix], Tensor | None]:
        """Queries, keys and values, each as the file holds it, and their bias."""
        sizes = {"q": shape.attention_width, "k": shape.kv_width, "v": shape.kv_width}
        if self.has("qkv", layer):
            whole = self.matrix("qkv", (sum(sizes.values()), width), layer)
            return _cut_rows(whole, list(sizes.values())), None
        parts = {part: self.matrix(part, (rows, width), layer) for part, rows in sizes.items()}
        biases = (
            {part: self.vector(f"{part}_bias", rows, layer) for part, rows in sizes.items()}
            if self.has("q_bias", layer)
            else {}
        )
        if self._paired_rotation:
            for part, heads in (("q", shape.heads), ("k", shape.kv_heads)):
                order = _halves_order(heads, shape.head_width)
                parts[part] = parts[part].take_rows(order)
                if biases:
                    biases[part] = biases[part][order]
        bias = torch.cat(list(biases.values())) if biases else None
        return list(parts.values()), bias

    def gate_up(self, width: int, shape: LayerShape, layer: int) -> Matrix:
        """Gate rows, then up rows."""
        if self.has("gate_up", layer):
            return self.matrix("gate_up", (2 * shape.ffn_width, width), layer)
        return stack_rows(self.gate_up_parts(width, shape, layer))

    def gate_up_parts(self, width: int, shape: LayerShape, layer: int) -> list[Matrix]:
        """Gate and up, each as the file holds it."""
        rows = shape.ffn_width
        if self.has("gate_up", layer):
            return _cut_rows(self.matrix("gate_up", (2 * rows, width), layer), [rows, rows])
        return [self.matrix(part, (rows, width), layer) for part in ("gate", "up")]

    def _name(self, part: str, layer: int) -> str:
        if part not in self._names:
            raise ModelFormatError(f"this family of models has no weight {part!r}")
        return self._names[part].format(layer)


def _cut_rows(matrix: Matrix, sizes: list[int]) -> list[Matrix]:
    return [matrix.take_rows(rows) for rows in torch.split(torch.arange(sum(sizes)), sizes)]


def _halves_order(heads: int, head_width: int) -> Tensor:
    """Row order that turns pairs (0,1),(2,3)… of each head into its two halves."""
    rows = torch.arange(heads * head_width)
    return rows.view(heads, head_width // 2, 2).transpose(1, 2).reshape(-1)
