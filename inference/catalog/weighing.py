"""Counting what a model's files hold: parameters, tensor bytes, architecture. Headers only."""

import dataclasses
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.catalog.installed import adapter_files, weight_files
from inference.formats.gguf_file import GgufFile
from inference.formats.huggingface import HuggingFaceFolder
from inference.formats.packed import WEIGHTS, PackedFile
from lanai.errors import ModelFormatError

__all__ = ["Weighed", "weigh"]

MAX_HEADER_BYTES: Final = 100_000_000  # the limit the safetensors format sets itself
MAX_BYTES: Final = 1 << 50
UNKNOWN_LICENSE: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What was counted. ``weight_bytes``: all tensors, with scales and embeddings."""

    architecture: str
    parameters: int
    weight_bytes: int
    license: str

    @property
    def bits_per_weight(self) -> float:
        return round(self.weight_bytes * 8 / self.parameters, 4)


def weigh(folder: Path, file: str | None, adapter: str | None = None) -> Weighed:
    """Count a GGUF or packed ``file`` in ``folder``, or a Hugging Face folder when it is ``None``.

    ``adapter``: the folder of the model's own, whose files are counted as weights whole.

    Raises ``ModelFormatError`` for files that are damaged or hold no weights.
    """
    if file is None:
        counted = _huggingface(folder)
    elif file == WEIGHTS:
        counted = _packed(folder / file)
    else:
        counted = _gguf(folder / file)
    if not counted.parameters:
        raise ModelFormatError(f"{folder} holds no weights")
    if adapter is None:
        return counted
    own = sum(path.stat().st_size for path in adapter_files(folder, adapter))
    return dataclasses.replace(counted, weight_bytes=counted.weight_bytes + own)


def _gguf(path: Path) -> Weighed:
    opened = GgufFile.open(path)
    tensors = opened.tensors.values()
    return Weighed(
        architecture=opened.text("general.architecture") or "unknown",
        parameters=sum(math.prod(tensor.shape) for tensor in tensors),
        weight_bytes=sum(tensor.bytes for tensor in tensors),
        license=opened.text("general.license") or UNKNOWN_LICENSE,
    )


def _packed(path: Path) -> Weighed:
    opened = PackedFile.open(path)
    of_matrices = sum(math.prod(matrix.shape) for matrix in opened.matrices.values())
    return Weighed(
        architecture=opened.config.architecture,
        parameters=of_matrices + sum(vector.size for vector in opened.vectors.values()),
        weight_bytes=path.stat().st_size,  # what says how to read them is counted too
        license=UNKNOWN_LICENSE,
    )


def _huggingface(folder: Path) -> Weighed:
    config = HuggingFaceFolder.open(folder).config
    tables = [_safetensors_table(file) for file in weight_files(folder, None)]
    return Weighed(
        architecture=str(config.get("model_type", "unknown")),
        parameters=sum(count for count, _ in tables),
        weight_bytes=sum(size for _, size in tables),
        license=_card_license(folder / "README.md"),
    )


def _safetensors_table(path: Path) -> tuple[int, int]:
    """Elements and bytes of one file, from its header."""
    try:
        entries = _safetensors_header(path)
        entries.pop("__metadata__", None)
        count = sum(_size(*entry["shape"]) for entry in entries.values())
        spans = [entry["data_offsets"] for entry in entries.values()]
        size = sum(_size(end) - _size(start) for start, end in spans)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, OSError) as error:
        raise ModelFormatError(f"{path} is damaged", hint="fetch the model again") from error
    return count, size


def _size(*sizes: object) -> int:
    """Their product. Raises ``ValueError`` for what no file can hold."""
    whole = [size for size in sizes if type(size) is int and 0 <= size <= MAX_BYTES]
    if len(whole) != len(sizes) or math.prod(whole) > MAX_BYTES:
        raise ValueError("no size")
    return math.prod(whole)


def _safetensors_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        if length > MAX_HEADER_BYTES:
            raise ValueError("header too long")
        header: dict[str, Any] = json.loads(opened.read(length))
    return header


def _card_license(card: Path) -> str:
    """``license:`` of a model card's front matter."""
    try:
        head = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    except OSError:
        return UNKNOWN_LICENSE
    for line in head.splitlines():
        if line.startswith("license:"):
            return line.removeprefix("license:").strip() or UNKNOWN_LICENSE
    return UNKNOWN_LICENSE
