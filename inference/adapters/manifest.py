"""What Lanai knows of an adapter beside its PEFT files: ``lanai.json`` in its folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from inference.adapters.faults import damaged
from inference.adapters.names import check_name
from inference.formats.files import read_json
from lanai.errors import ModelFormatError, UsageError

__all__ = ["MANIFEST", "AdapterManifest", "Base", "read_manifest", "write_manifest"]

MANIFEST: Final = "lanai.json"
SCHEMA: Final = "lanai.adapter/1"
MAX_TEMPLATE: Final = 1 << 16
MAX_STOPS: Final = 16

Kind = Literal["task", "recovery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The model an adapter was made for. ``sha256``: of its weights; ``None``: not known."""

    name: str
    architecture: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterManifest:
    """``sha256`` and ``bytes`` are of ``adapter_model.safetensors``.

    ``chat_template`` (Jinja) and ``stop`` are the conversation's form the adapter was trained
    with; ``None``: the base's own.
    """

    name: str
    base: Base
    kind: Kind = "task"
    chat_template: str | None = None
    stop: tuple[str, ...] | None = None
    license: str = ""
    sha256: str = ""
    bytes: int = 0


def write_manifest(folder: Path, manifest: AdapterManifest) -> None:
    """Write ``lanai.json`` into the adapter's folder."""
    text = json.dumps({"schema": SCHEMA, **asdict(manifest)}, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> AdapterManifest | None:
    """``None`` where there is none: a foreign PEFT folder. Raises ``AdapterError``."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        return _parse(values)
    except (ModelFormatError, UsageError, TypeError, ValueError) as error:
        raise damaged(f"{path} is no manifest of an adapter") from error


def _parse(values: Mapping[str, Any]) -> AdapterManifest:
    """Raises ``TypeError`` or ``ValueError`` for what ``write_manifest`` does not write."""
    fields = dict(values)
    if fields.pop("schema", None) != SCHEMA:
        raise ValueError
    stop = fields.pop("stop", None)
    manifest = AdapterManifest(
        **{
            **fields,
            "base": Base(**fields["base"]) if "base" in fields else None,
            "stop": tuple(stop) if isinstance(stop, list) else stop,
        }
    )
    _check(manifest)
    return manifest


def _check(manifest: AdapterManifest) -> None:
    check_name(manifest.name)
    base = cast("Base | None", manifest.base)
    if base is None:
        raise ValueError
    texts = (base.name, base.architecture, manifest.license, manifest.sha256)
    maybe = (base.sha256, manifest.chat_template)
    known = manifest.kind in ("task", "recovery")
    if not known or type(manifest.bytes) is not int or manifest.bytes < 0:
        raise ValueError
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    if not all(text is None or isinstance(text, str) for text in maybe):
        raise TypeError
    if len(manifest.chat_template or "") > MAX_TEMPLATE:
        raise ValueError
    _check_stops(manifest.stop)


def _check_stops(stop: tuple[str, ...] | None) -> None:
    if stop is None:
        return
    if not isinstance(stop, tuple) or len(stop) > MAX_STOPS:
        raise ValueError
    if not all(isinstance(text, str) and text for text in stop):
        raise TypeError
