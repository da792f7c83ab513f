"""From the settings a file carries to a ``DecoderConfig``."""

from collections.abc import Mapping
from typing import Any

from inference.architectures import gguf_settings, huggingface_settings
from inference.architectures.config import DecoderConfig
from inference.architectures.fields import Fields
from inference.formats.gguf_file import GgufFile
from lanai.errors import UnsupportedModel

__all__ = ["config_of_gguf", "config_of_huggingface"]


def config_of_gguf(file: GgufFile) -> DecoderConfig:
    """Raises ``UnsupportedModel`` for an architecture not built here, else ``ModelFormatError``."""
    name = file.text("general.architecture")
    read = gguf_settings.READERS.get(name or "")
    if read is None:
        raise _unsupported(name, gguf_settings.READERS)
    return read(gguf_settings.Settings(file))


def config_of_huggingface(config: Mapping[str, Any]) -> DecoderConfig:
    """Raises ``UnsupportedModel`` for an architecture not built here, else ``ModelFormatError``."""
    name = config.get("model_type")
    read = huggingface_settings.READERS.get(name) if isinstance(name, str) else None
    if read is None:
        raise _unsupported(name, huggingface_settings.READERS)
    return read(Fields(config))


def _unsupported(name: object, known: Mapping[str, object]) -> UnsupportedModel:
    return UnsupportedModel(
        f"architecture {name!r} is not built here", hint="built: " + ", ".join(sorted(known))
    )
