"""Which model an adapter is asked to change, and whether it was made for that one."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.adapters.faults import fault_error
from inference.adapters.manifest import AdapterManifest
from inference.architectures.config import DecoderConfig
from inference.architectures.reading import config_of_gguf, config_of_huggingface
from inference.formats.files import locate, read_json
from inference.formats.gguf_file import GgufFile
from inference.formats.huggingface import HuggingFaceFolder
from inference.formats.packed import PackedFile
from lanai.errors import AdapterFault, ModelFormatError

__all__ = ["BaseModel", "base_model_at", "check_base", "config_at"]

_PACKED: Final = re.compile(r"packed:(.+)@sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """Names and weight digests a model goes by: its own and, packed, its source's."""

    names: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()


def base_model_at(path: Path, *, sha256: str = "") -> BaseModel:
    """Of the model at ``path``, from its manifest where it has one.

    ``sha256``: of its weights, where the caller knows better than the manifest.
    """
    names, digests = {path.stem if path.is_file() else path.name}, {sha256}
    if (path / "lanai.json").is_file():
        try:
            values = read_json(path / "lanai.json")
        except ModelFormatError:
            values = {}  # loading the model says it
        names.add(str(values.get("name")))
        digests.add(str(values.get("sha256")))
        if source := _PACKED.fullmatch(str(values.get("source"))):
            names.add(source[1])
            digests.add(source[2])
    return BaseModel(names=frozenset(names), digests=frozenset(digests - {""}))


def config_at(path: Path) -> DecoderConfig:
    """Of the model at ``path``, without its weights. Raises ``ModelError``."""
    files = locate(path)
    match files.format:
        case "gguf":
            return config_of_gguf(GgufFile.open(files.weights))
        case "packed":
            return PackedFile.open(files.weights).config
        case "huggingface":
            return config_of_huggingface(HuggingFaceFolder.open(files.weights).config)


def check_base(
    manifest: AdapterManifest | None,
    base_name: str | None,
    architecture: str,
    base: BaseModel | None,
) -> None:
    """Raises ``AdapterError`` for an adapter that names another model than ``base``.

    Weights are matched by digest where the manifest has one, else by name; ``base`` ``None``
    matches by architecture alone.
    """
    if manifest is not None:
        if _family(manifest.base.architecture) != _family(architecture):
            raise _wrong(f"{manifest.base.name}, of the family {manifest.base.architecture}")
        if base is None or manifest.base.sha256 in base.digests:
            return
        if manifest.base.sha256 is not None:
            raise _wrong(f"{manifest.base.name}, weights {manifest.base.sha256[:12]}")
        base_name = manifest.base.name
    if base is not None and base_name is not None and not _named(base_name, base):
        raise _wrong(base_name)


def _family(architecture: str) -> str:
    """GGUF and Hugging Face name one family differently: ``gemma3`` and ``gemma3_text``."""
    return architecture.removesuffix("_text")


def _named(name: str, base: BaseModel) -> bool:
    """By the last part of a path or hub name, whatever its case and dashes."""
    return _plain(name) in {_plain(known) for known in base.names}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower())


def _wrong(what: str) -> Exception:
    return fault_error(AdapterFault.WRONG_BASE, f"the adapter was made for {what[:100]}")
