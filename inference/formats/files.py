"""Finding the files of a model: installed folder, bare GGUF file or Hugging Face folder."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from lanai.errors import ModelFormatError, ModelNotFound, UnsupportedModel

__all__ = ["ModelFiles", "is_plain_name", "locate", "parse_json", "read_json", "read_text"]

_MAX_JSON_BYTES = 64 << 20
_SCHEMA = "lanai.model/1"
_PULL_AGAIN = "remove the model and pull it again"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """One model on disk.

    ``weights`` is the GGUF file, the packed weight file, or the folder of a Hugging Face model.
    ``chat_form`` names a built-in form and is ``None`` when the model's own chat template is to be
    used.
    """

    format: Literal["gguf", "huggingface", "packed"]
    folder: Path
    weights: Path
    chat_form: str | None = None
    adapter: Path | None = None
    """The folder of an adapter that is always on."""


def locate(path: Path) -> ModelFiles:
    """Files of the model at ``path``.

    Raises ``ModelNotFound`` when nothing is there, ``ModelFormatError`` when what is there is not
    a model, ``UnsupportedModel`` for a format that is not built here.
    """
    if path.is_file():
        return ModelFiles(format="gguf", folder=path.parent, weights=path)
    if not path.is_dir():
        raise ModelNotFound(f"no model at {path}", hint="lanai models list")
    if (path / "lanai.json").is_file():
        return _installed(path)
    if (path / "config.json").is_file():
        return ModelFiles(format="huggingface", folder=path, weights=path)
    return _single_gguf(path)


def _single_gguf(folder: Path) -> ModelFiles:
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        raise ModelFormatError(
            f"{folder} holds no lanai.json, no config.json and {len(found)} .gguf files",
            hint="give the .gguf file itself, or a folder that holds one model",
        )
    return ModelFiles(format="gguf", folder=folder, weights=found[0])


def _installed(folder: Path) -> ModelFiles:
    manifest = read_json(folder / "lanai.json")
    if manifest.get("schema") != _SCHEMA:
        raise ModelFormatError(
            f"{folder / 'lanai.json'} is not of schema {_SCHEMA}",
            hint=_PULL_AGAIN,
        )
    chat_form = manifest.get("chat_form")
    if chat_form is not None and not isinstance(chat_form, str):
        raise ModelFormatError(
            f"{folder / 'lanai.json'}: chat_form is not a name or null", hint=_PULL_AGAIN
        )
    adapter = _adapter(folder, manifest.get("adapter"))
    match manifest.get("format"):
        case "gguf" | "packed" as kind:
            weights = _named_file(folder, manifest.get("file"))
            return ModelFiles(
                format=kind, folder=folder, weights=weights, chat_form=chat_form, adapter=adapter
            )
        case "huggingface":
            return ModelFiles(
                format="huggingface",
                folder=folder,
                weights=folder,
                chat_form=chat_form,
                adapter=adapter,
            )
        case other:
            raise UnsupportedModel(
                f"{folder / 'lanai.json'}: format {other!r} is not built in this version",
                hint="formats: gguf, huggingface, packed",
            )


def _adapter(folder: Path, name: object) -> Path | None:
    """A folder directly in ``folder``; names that lead elsewhere are refused."""
    if name is None:
        return None
    if not is_plain_name(name) or not (folder / name).is_dir():
        raise ModelFormatError(
            f"{folder} lacks the adapter its lanai.json names",
            hint=_PULL_AGAIN,
        )
    return folder / name


def _named_file(folder: Path, name: object) -> Path:
    """The file ``name`` directly in ``folder``; names that lead elsewhere are refused."""
    if not is_plain_name(name):
        raise ModelFormatError(f"{folder / 'lanai.json'}: file is not a plain file name")
    if not (folder / name).is_file():
        raise ModelFormatError(f"{folder} lacks its weight file {name}", hint=_PULL_AGAIN)
    return folder / name


def is_plain_name(name: object) -> TypeGuard[str]:
    """Whether ``name`` names something directly in a folder. It is data from outside."""
    if not isinstance(name, str):
        return False
    return Path(name).name == name and name != ".." and "\0" not in name


def parse_json(text: str) -> Any:
    """``ValueError`` or ``RecursionError`` for what is not JSON, or holds half of a surrogate
    pair: such a text could be neither shown nor written."""
    value = json.loads(text)
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises ``ModelFormatError`` for anything else."""
    try:
        value = parse_json(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not JSON", hint="fetch the model again") from error
    if not isinstance(value, dict):
        raise ModelFormatError(f"{path} does not hold a JSON object")
    return value


def read_text(path: Path) -> str:
    """The text of ``path``, of bounded size. Raises ``ModelFormatError`` for anything else."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ModelFormatError(f"{path} is larger than {_MAX_JSON_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{path} is not text", hint="fetch the model again") from error
