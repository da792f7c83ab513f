"""A safetensors file mapped into memory, every claim of its header checked. No torch here.

The format: 8 bytes of little-endian length, that many bytes of JSON, then the tensors' bytes
without gaps (https://github.com/huggingface/safetensors). The ``safetensors`` package reads it
too, but copies; packed weights are used where the file lies in memory.

Plan of ``SafetensorsMap.open``:
    1. the header's length fits the file, the header is an object of known form
    2. each tensor: known type, whole shape, as many bytes as its shape needs
    3. together they fill the rest of the file, in order, none twice
"""

import contextlib
import json
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.formats.files import parse_json
from lanai.errors import ModelFormatError, ModelNotFound

__all__ = ["SafetensorsMap", "write_safetensors"]

MAX_HEADER_BYTES: Final = 16 << 20
_MAX_DIMENSIONS: Final = 8
_MAX_ELEMENTS: Final = 1 << 40
ALIGNMENT: Final = 64
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # its bits; see ``SafetensorsMap.types``
    "F32": np.dtype("<f4"),
}
_NAMES: Final = {dtype: name for name, dtype in _TYPES.items() if name != "BF16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsMap:
    """``tensors``: read-only views of the mapped file. ``types``: as the file calls theirs."""

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, NDArray[Any]]
    types: Mapping[str, str]

    @classmethod
    def open(cls, path: Path) -> "SafetensorsMap":
        """Raises ``ModelNotFound`` or ``ModelFormatError``."""
        data = _map(path)
        header, start = _header(path, data)  # 1
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(
            isinstance(value, str) for value in metadata.values()
        ):
            raise _damaged(path, "holds metadata that are no texts")
        tensors = dict(_tensors(path, data, header, start))
        types = {name: header[name]["dtype"] for name in tensors}
        return cls(path=path, metadata=metadata, tensors=tensors, types=types)


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelNotFound(f"no weights at {path}", hint="lanai models list") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, "cannot be mapped into memory") from error
    _ask_for_large_pages(data)
    return data


def _ask_for_large_pages(data: mmap.mmap) -> None:
    """Before the first byte is read: what the system still has to fetch then comes in pages of
    2 MB, where it and the file system can (Linux 6.16 with ext4), and costs no more memory. A
    token reads every weight once, and small pages cost it a sixth of its time in lookups."""
    if (advice := getattr(mmap, "MADV_HUGEPAGE", None)) is not None:
        with contextlib.suppress(OSError):  # a system built without
            data.madvise(advice)


def _header(path: Path, data: mmap.mmap) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise _damaged(path, "is too short")
    (size,) = struct.unpack("<Q", data[:8])
    if size > min(MAX_HEADER_BYTES, len(data) - 8):
        raise _damaged(path, "claims a header larger than itself")
    try:
        header = parse_json(str(data[8 : 8 + size], "utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "has a header that is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "has a header that is not an object")
    return header, 8 + size


def _tensors(
    path: Path, data: mmap.mmap, header: dict[str, Any], start: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    try:
        entries = {name: _entry(value) for name, value in header.items()}  # 2
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "describes a tensor wrongly") from error
    end = 0
    for name, (dtype, shape, first, last) in sorted(
        entries.items(), key=lambda item: (item[1][2], item[1][3])
    ):  # 3
        if first != end:
            raise _damaged(path, "has tensors that overlap or leave a gap")
        end = last
        if start + end > len(data):
            raise _damaged(path, "is shorter than its header says")
        count = math.prod(shape)
        yield name, np.frombuffer(data, dtype, count, start + first).reshape(shape)
    if start + end != len(data):
        raise _damaged(path, "is longer than its header says")


def _entry(value: dict[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    dtype, shape = _TYPES[value["dtype"]], tuple(value["shape"])
    first, last = value["data_offsets"]
    if not all(type(size) is int for size in (*shape, first, last)):
        raise TypeError
    if min((*shape, 1)) < 0 or not 0 <= first <= last:
        raise ValueError
    if len(shape) > _MAX_DIMENSIONS or math.prod(max(size, 1) for size in shape) > _MAX_ELEMENTS:
        raise ValueError  # an empty tensor can claim any size
    if math.prod(shape) * dtype.itemsize != last - first:
        raise ValueError
    return dtype, shape, first, last


def _damaged(path: Path, what: str) -> ModelFormatError:
    return ModelFormatError(f"{path} {what}", hint="the file is damaged: pack or pull it again")


def write_safetensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write ``tensors`` in their order. Data begin at a multiple of 64 bytes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        first, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [first, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with path.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            opened.write(np.ascontiguousarray(tensor).data)
