"""What a decoder looks like, family by family, as plain values. No torch."""

from dataclasses import dataclass
from typing import Final, Literal

from lanai.errors import ModelFormatError

__all__ = ["DecoderConfig", "LayerShape", "Rope", "checked_layers", "split_evenly"]

_MAX_LAYERS: Final = 1024
_MAX_SIZE: Final = 1 << 24
_DAMAGED: Final = "the model's settings are damaged: fetch it again"


def checked_layers(count: int) -> int:
    """``count``, when a model can have so many layers: asked before anything is made of each."""
    if not 1 <= count <= _MAX_LAYERS:
        raise ModelFormatError(f"the model claims {count} layers", hint=_DAMAGED)
    return count


def split_evenly(width: int, heads: int) -> int:
    """Width of one of ``heads`` heads that share ``width`` numbers."""
    if heads < 1 or width % heads:
        raise ModelFormatError(f"a width of {width} is not that of {heads} heads", hint=_DAMAGED)
    return width // heads


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
        known = 1 <= self.original_context <= _MAX_SIZE
        if not (known and _positive(self.theta) and _positive(self.factor)):
            raise ModelFormatError(
                "the model's rotary base or scaling is not a positive number", hint=_DAMAGED
            )
        low, high = self.low_frequency, self.high_frequency
        if low is None and high is None:
            return
        if low is None or high is None or not (_positive(low) and _positive(high) and low < high):
            raise ModelFormatError(
                "the model's rotary scaling lacks two frequencies, the low one first", hint=_DAMAGED
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

    def __post_init__(self) -> None:
        sizes = (self.heads, self.kv_heads, self.head_width, self.ffn_width)
        if not all(1 <= size <= _MAX_SIZE for size in sizes):
            raise ModelFormatError("a layer's settings hold an impossible size", hint=_DAMAGED)
        if self.window is not None and self.window < 1:
            raise ModelFormatError("a layer sees less than one token", hint=_DAMAGED)
        if self.heads % self.kv_heads:
            raise ModelFormatError(
                f"{self.heads} heads do not share {self.kv_heads} key/value heads evenly",
                hint=_DAMAGED,
            )
        if self.head_width % 2:
            raise ModelFormatError(
                f"a head of {self.head_width} numbers has no two halves to rotate", hint=_DAMAGED
            )

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
        if not all(
            1 <= size <= _MAX_SIZE for size in (self.vocabulary, self.width, self.max_context)
        ):
            raise ModelFormatError("the model's settings hold an impossible size", hint=_DAMAGED)
        checked_layers(len(self.shapes))
        scales = [self.norm_epsilon, self.embedding_scale]
        scales += [] if self.query_scale is None else [self.query_scale]
        if not all(_positive(scale) for scale in scales):
            raise ModelFormatError("a factor of the model is not a positive number", hint=_DAMAGED)

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


def _positive(value: float) -> bool:
    return 0 < value < 1e18
