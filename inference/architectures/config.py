"""What a decoder looks like, family by family, as plain values. No torch."""

import math
from dataclasses import dataclass
from typing import Literal

from lanai.errors import ModelFormatError

__all__ = ["DecoderConfig", "LayerShape", "Rope", "checked_layers"]

_MAX_LAYERS = 1024


def checked_layers(count: int) -> int:
    """``count``, when a model can have so many layers: asked before anything is made of each."""
    if not 1 <= count <= _MAX_LAYERS:
        raise ModelFormatError(f"the model claims {count} layers")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary position embedding (Su et al. 2021), two halves of a head rotated against each other.

    ``factor`` stretches positions (linear scaling). With ``low_frequency`` and ``high_frequency``
    set it is Llama 3's scaling instead: only slow frequencies are stretched, by wavelength
    relative to ``original_context``.
    """

    theta: float
    factor: float = 1.0
    low_frequency: float | None = None
    high_frequency: float | None = None
    original_context: int = 8192

    def __post_init__(self) -> None:
        for value in (self.theta, self.factor):
            if not (math.isfinite(value) and value > 0):
                raise ModelFormatError(
                    "the model's rotary base or scaling is not a positive number"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """Sizes of one layer. OpenELM gives each its own; the other families repeat one."""

    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    rope: Rope
    window: int | None = None
    """A token sees itself and the ``window - 1`` before it; ``None`` sees all."""

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_width


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Everything the forward pass needs to know beside the weights."""

    architecture: str
    vocabulary: int
    width: int
    max_context: int
    norm_epsilon: float
    shapes: tuple[LayerShape, ...]
    activation: Literal["silu", "gelu_tanh"] = "silu"
    embedding_scale: float = 1.0
    query_scale: float | None = None
    """Factor on query-key products; ``None`` is 1 / sqrt(head width)."""
    qk_norm: bool = False
    sandwich_norms: bool = False
    """Gemma: what attention and feed-forward give is normalized too, before it is added."""

    def __post_init__(self) -> None:
        sizes = [self.vocabulary, self.width, self.max_context, len(self.shapes)]
        for shape in self.shapes:
            sizes += [shape.heads, shape.kv_heads, shape.head_width, shape.ffn_width]
            if shape.heads % max(shape.kv_heads, 1) or shape.head_width % 2:
                raise ModelFormatError("heads do not share key/value heads evenly")
        if min(sizes) < 1 or max(sizes) > 1 << 24:
            raise ModelFormatError("the model's settings hold an impossible size")

    @property
    def layers(self) -> int:
        return len(self.shapes)

    @property
    def heads(self) -> int:
        """Query heads of the widest layer."""
        return max(shape.heads for shape in self.shapes)

    @property
    def kv_heads(self) -> int:
        return max(shape.kv_heads for shape in self.shapes)
