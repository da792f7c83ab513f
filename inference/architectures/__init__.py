"""Model families: their settings as a ``DecoderConfig``, and what they call their weights."""

from inference.architectures.config import DecoderConfig, LayerShape, Rope
from inference.architectures.reading import config_of_gguf, config_of_huggingface
from inference.architectures.weights import DecoderWeights

__all__ = [
    "DecoderConfig",
    "DecoderWeights",
    "LayerShape",
    "Rope",
    "config_of_gguf",
    "config_of_huggingface",
]
