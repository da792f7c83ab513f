"""Model families: their settings as a ``DecoderConfig``, and what they call their weights."""

from typing import TYPE_CHECKING, Any

from inference.architectures.config import DecoderConfig, LayerShape, Rope
from inference.architectures.reading import config_of_gguf, config_of_huggingface

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


def __getattr__(name: str) -> Any:
    """Weights need torch, settings do not: it is imported with the first who asks for them."""
    if name != "DecoderWeights":
        raise AttributeError(name)
    from inference.architectures.weights import DecoderWeights

    return DecoderWeights
