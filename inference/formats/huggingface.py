"""A Hugging Face model folder: its JSON settings and where each tensor lies. No torch here."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.formats.files import is_plain_name, parse_json, read_json
from lanai.errors import ModelFormatError

__all__ = ["HuggingFaceFolder"]

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_HEADER_BYTES = 100_000_000  # the limit the safetensors format sets itself


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceFolder:
    """A checked folder. ``tensors`` maps each tensor's name to the file that holds it."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Path]

    @classmethod
    def open(cls, path: Path) -> "HuggingFaceFolder":
        """Read ``config.json`` and the weight index. Raises ``ModelFormatError``."""
        return cls(path=path, config=read_json(path / "config.json"), tensors=_tensors(path))


def _tensors(path: Path) -> dict[str, Path]:
    if (path / _INDEX).is_file():
        return _sharded(path)
    if (path / _SINGLE).is_file():
        return dict.fromkeys(_names(path / _SINGLE), path / _SINGLE)
    if any(next(path.glob(pattern), None) for pattern in _PICKLES):
        raise ModelFormatError(
            f"{path} holds its weights as pickles, which run code when they are read",
            hint="convert the model to safetensors, or pull a safetensors copy",
        )
    raise ModelFormatError(
        f"{path} holds no weights", hint=f"a Hugging Face folder has {_SINGLE} or {_INDEX}"
    )


def _sharded(path: Path) -> dict[str, Path]:
    index = read_json(path / _INDEX).get("weight_map")
    if not isinstance(index, dict):
        raise ModelFormatError(f"{path / _INDEX} has no weight_map")
    # A shard's name is data from outside: it must not lead out of the folder.
    if not all(map(is_plain_name, index.values())):
        raise ModelFormatError(f"{path / _INDEX} names a file outside its folder")
    for file in set(index.values()):
        if not file.endswith(".safetensors"):
            raise ModelFormatError(
                f"{path / _INDEX} names {file}, which is not a safetensors file",
                hint="convert the model to safetensors",
            )
        missing = {name for name, where in index.items() if where == file} - set(
            _names(path / file)
        )
        if missing:
            raise ModelFormatError(f"{path / file} lacks {len(missing)} tensors of the index")
    return {name: path / file for name, file in index.items()}


def _names(file: Path) -> list[str]:
    """Tensor names in a safetensors header (8 bytes of length, then JSON)."""
    try:
        with file.open("rb") as opened:
            size = struct.unpack("<Q", opened.read(8))[0]
            if size > min(_MAX_HEADER_BYTES, file.stat().st_size):
                raise ModelFormatError(f"{file} claims a header larger than itself")
            header = parse_json(str(opened.read(size), "utf-8"))
    except OSError as error:
        raise ModelFormatError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, struct.error) as error:
        raise ModelFormatError(f"{file} is not a safetensors file") from error
    if not isinstance(header, dict):
        raise ModelFormatError(f"{file} is not a safetensors file")
    return [name for name in header if name != "__metadata__"]
