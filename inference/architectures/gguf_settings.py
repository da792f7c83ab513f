"""GGUF metadata of each family. Keys are those of the GGUF specification, below its name."""

import math
from collections.abc import Callable

from inference.architectures.config import (
    DecoderConfig,
    LayerShape,
    Rope,
    checked_layers,
    split_evenly,
)
from inference.formats.gguf_file import GgufFile
from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["READERS", "Settings"]

_GEMMA_LOCAL_THETA = 10_000.0  # older Gemma 3 files leave it out, as the paper's only value
_GEMMA_PATTERN = 6  # five local layers, then a global one


class Settings:
    """Typed reads of one file's metadata; a missing key is a ``ModelFormatError``."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.family = file.text("general.architecture") or ""

    def real(self, key: str, default: float | None = None) -> float:
        value = self.file.number(f"{self.family}.{key}")
        value = default if value is None else value
        if value is None or not math.isfinite(value):
            raise self._improper(key)
        return float(value)

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.real(key, default)
        if not value.is_integer():
            raise self._improper(key)
        return int(value)

    def _improper(self, key: str) -> ModelFormatError:
        return ModelFormatError(
            f"{self.file.path} lacks a proper {self.family}.{key}",
            hint="the file is damaged: fetch it again",
        )

    def layers(self) -> int:
        return checked_layers(self.whole("block_count"))

    def rope(self) -> Rope:
        scaling = self.file.text(f"{self.family}.rope.scaling.type") or "none"
        if scaling not in ("none", "linear"):
            raise UnsupportedModel(
                f"rope scaling {scaling!r} is not built here",
                hint="built: none, linear, and the factors of llama3 as a tensor",
            )
        factor = self.real("rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
        return Rope(theta=self.real("rope.freq_base", 10_000.0), factor=factor)

    def vocabulary(self) -> int:
        entry = self.file.tensors.get("token_embd.weight")
        if entry is None or len(entry.shape) != 2:
            raise ModelFormatError(
                f"{self.file.path} lacks its embeddings", hint="the file is damaged: fetch it again"
            )
        return entry.shape[0]

    def shape(self, rope: Rope, window: int | None = None) -> LayerShape:
        heads, width = self.whole("attention.head_count"), self.whole("embedding_length")
        head_width = self.whole("attention.key_length", 0) or split_evenly(width, heads)
        rotated = self.whole("rope.dimension_count", head_width)
        if rotated != head_width or self.whole("attention.value_length", head_width) != head_width:
            raise UnsupportedModel(
                "heads that rotate in part are not built here",
                hint="take a model that rotates whole heads",
            )
        return LayerShape(
            heads=heads,
            kv_heads=self.whole("attention.head_count_kv", heads),
            head_width=head_width,
            ffn_width=self.whole("feed_forward_length"),
            rope=rope,
            window=window,
        )


def _llama(settings: Settings) -> DecoderConfig:
    if settings.whole("expert_count", 0):
        raise UnsupportedModel(
            "mixtures of experts are not built here", hint="take a dense model of the family"
        )
    return _uniform(settings)


def _qwen3(settings: Settings) -> DecoderConfig:
    return _uniform(settings, qk_norm=True)


def _uniform(settings: Settings, *, qk_norm: bool = False) -> DecoderConfig:
    window = settings.whole("attention.sliding_window", 0) or None
    return DecoderConfig(
        architecture=settings.family,
        vocabulary=settings.vocabulary(),
        width=settings.whole("embedding_length"),
        max_context=settings.whole("context_length"),
        norm_epsilon=settings.real("attention.layer_norm_rms_epsilon"),
        shapes=(settings.shape(settings.rope(), window),) * settings.layers(),
        qk_norm=qk_norm,
    )


def _gemma3(settings: Settings) -> DecoderConfig:
    every = max(1, settings.whole("attention.sliding_window_pattern", _GEMMA_PATTERN))
    local_rope = Rope(theta=settings.real("rope.freq_base_swa", _GEMMA_LOCAL_THETA))
    local = settings.shape(local_rope, settings.whole("attention.sliding_window"))
    whole = settings.shape(settings.rope())
    width = settings.whole("embedding_length")
    return DecoderConfig(
        architecture=settings.family,
        vocabulary=settings.vocabulary(),
        width=width,
        max_context=settings.whole("context_length"),
        norm_epsilon=settings.real("attention.layer_norm_rms_epsilon"),
        shapes=tuple(local if (layer + 1) % every else whole for layer in range(settings.layers())),
        activation="gelu_tanh",
        embedding_scale=width**0.5,
        qk_norm=True,
        sandwich_norms=True,
    )


READERS: dict[str, Callable[[Settings], DecoderConfig]] = {
    "gemma3": _gemma3,
    "llama": _llama,
    "qwen2": _uniform,
    "qwen3": _qwen3,
}
