"""An installed model: a folder with ``lanai.json``, and reading and writing that file."""

import dataclasses
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from inference.catalog.copying import combined_digest
from inference.formats.files import is_plain_name, read_json
from lanai.errors import ModelFormatError

__all__ = [
    "ADAPTER",
    "MANIFEST",
    "InstalledModel",
    "adapter_files",
    "own_adapter",
    "read_manifest",
    "weight_files",
    "with_adapter",
    "write_manifest",
]

MANIFEST: Final = "lanai.json"
SCHEMA: Final = "lanai.model/1"
ADAPTER: Final = "adapter"
"""The folder, inside a model's, of an adapter that is always on."""
_ADAPTER: Final = ("adapter_config.json", "adapter_model.safetensors", "lanai.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """Facts of a model on disk. ``bytes`` and ``sha256`` are of its weights.

    ``sha256`` of several weight files is that of the lines ``name NUL sha256 LF``, sorted by name.
    ``adapter``: the folder inside its own of an adapter that is always on, and part of its weights.
    """

    name: str
    path: Path
    format: str
    file: str | None
    chat_form: str | None
    architecture: str
    parameters: int
    bits_per_weight: float
    bytes: int
    sha256: str
    license: str
    source: str
    adapter: str | None = None


def weight_files(folder: Path, file: str | None, adapter: str | None = None) -> tuple[Path, ...]:
    """The weight file, or every safetensors file of a Hugging Face folder, sorted by name.

    Then the files of the adapter that is always on: all of them say what it computes.
    """
    own = () if adapter is None else adapter_files(folder, adapter)
    if file is not None:
        return (folder / file, *own)
    return (*sorted(folder.glob("*.safetensors")), *own)


def adapter_files(folder: Path, adapter: str) -> tuple[Path, ...]:
    return tuple(folder / adapter / name for name in _ADAPTER)


def own_adapter(folder: Path) -> str | None:
    """The folder of the adapter that is always on, of a model that was packed into ``folder``."""
    return ADAPTER if (folder / ADAPTER).is_dir() else None


def with_adapter(model: InstalledModel) -> InstalledModel:
    """``model``, counted without the adapter that lies in its folder, with it."""
    files = weight_files(model.path, model.file, ADAPTER)
    added = sum(file.stat().st_size for file in files) - model.bytes
    return dataclasses.replace(
        model,
        adapter=ADAPTER,
        bytes=model.bytes + added,
        bits_per_weight=round(model.bits_per_weight + added * 8 / model.parameters, 4),
        sha256=combined_digest(files),
    )


def write_manifest(model: InstalledModel) -> None:
    """Write ``lanai.json`` into the model's folder."""
    values = {"schema": SCHEMA, **asdict(model)}
    del values["path"]
    if model.adapter is None:
        del values["adapter"]
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    (model.path / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> InstalledModel:
    """The model in ``folder``, its sizes checked. Raises ``ModelFormatError``."""
    path = folder / MANIFEST
    values = read_json(path)
    if values.pop("schema", None) != SCHEMA:
        raise _damaged(path, f"is not of schema {SCHEMA}")
    model = _parse(path, values)
    try:
        files = weight_files(folder, model.file, model.adapter)
        size = sum(file.stat().st_size for file in files)
    except OSError:
        raise _damaged(path, "names a weight file that is missing") from None
    if size != model.bytes:
        raise _damaged(path, f"says {model.bytes} bytes of weights, {size} are there")
    return model


def _parse(path: Path, values: dict[str, Any]) -> InstalledModel:
    try:
        model = InstalledModel(path=path.parent, **values)
    except TypeError:
        raise _damaged(path, "lacks a key or has one too many") from None
    if (wrong := _wrong_key(model)) is not None:
        raise _damaged(path, f"has a wrong value for {wrong}")
    return model


def _wrong_key(model: InstalledModel) -> str | None:
    texts = ("name", "format", "architecture", "sha256", "license", "source")
    for key in texts:
        if type(getattr(model, key)) is not str:
            return key
    for key in ("parameters", "bytes"):
        if type(value := getattr(model, key)) is not int or value < 0:
            return key
    for key in ("file", "chat_form", "adapter"):
        if not isinstance(getattr(model, key), str | None):
            return key
    for key in ("file", "adapter"):
        if (name := getattr(model, key)) is not None and not is_plain_name(name):
            return key
    bits = model.bits_per_weight
    if not isinstance(bits, int | float) or not math.isfinite(bits):
        return "bits_per_weight"
    return None


def _damaged(path: Path, what: str) -> ModelFormatError:
    return ModelFormatError(f"{path} {what}", hint="`lanai models rm` the model and pull it again")
