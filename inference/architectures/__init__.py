"""Model families: their settings as a ``DecoderConfig``, and what they call their weights."""

from typing import TYPE_CHECKING

from inference.architectures.config import DecoderConfig, LayerShape, Rope
from inference.architectures.reading import config_of_gguf, config_of_huggingface
from lanai.lazy import lazily

if TYPE_CHECKING:
    from inference.architectures.weights import DecoderWeights

__all__ = [
    "DecoderConfig",
    "DecoderWeights",
    "LayerShape",
    "Rope",
    "config_of_gguf",
    "config_of_huggingface",
]

if not TYPE_CHECKING:
    # Weights need torch, settings do not: it is imported with the first who asks for them.
    __getattr__ = lazily(__name__, {"DecoderWeights": "inference.architectures.weights"})
