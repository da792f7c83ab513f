"""The header of a GGUF file: metadata and a table of tensors, checked before use. No torch here.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The ``gguf``
package knows the block layouts and is used for those; its reader is not, because it believes the
lengths it reads and needs many seconds for a vocabulary of 262,144 tokens.

Plan of ``GgufFile.open``:
    1. magic, version, counts that the file is large enough to hold
    2. metadata: every string and array lies within the file
    3. tensor table: known type, whole blocks, no name twice
    4. tensor data: aligned, within the file, no two overlap
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from lanai.errors import ModelFormatError, ModelNotFound

__all__ = ["GgufFile", "GgufTensor", "MetadataValue"]

MetadataValue = str | int | float | bool | list[str] | NDArray[np.generic]

_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 1 << 40
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: dict[int, "np.dtype[Any]"] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    _BOOL: np.dtype("<u1"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch's are zipped
_HINT = "the file is damaged: fetch the model again"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """One entry of the tensor table. ``shape`` is (rows, columns); ``offset`` from file start."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int
    bytes: int


class GgufFile:
    """A checked GGUF file, mapped into memory."""

    def __init__(
        self,
        path: Path,
        data: mmap.mmap,
        metadata: Mapping[str, MetadataValue],
        tensors: Mapping[str, GgufTensor],
    ) -> None:
        self.path = path
        self.metadata = metadata
        self.tensors = tensors
        self._data = data

    @classmethod
    def open(cls, path: Path) -> "GgufFile":
        """Read and check the header. Raises ``ModelNotFound`` or ``ModelFormatError``."""
        data = _map(path)
        cursor = _Cursor(path, data)
        # 1. magic, version, counts
        tensor_count, field_count = _preamble(cursor)
        # 2. metadata
        metadata: dict[str, MetadataValue] = {}
        for _ in range(field_count):
            key = cursor.text()
            if key in metadata:
                raise cursor.error(f"metadata key {key!r} appears twice")
            metadata[key] = _value(cursor, cursor.u32())
        # 3. tensor table
        tensors = [_tensor(cursor) for _ in range(tensor_count)]
        # 4. tensor data
        return cls(path, data, metadata, _placed(cursor, tensors, metadata))

    def blocks(self, name: str) -> NDArray[np.uint8]:
        """Raw bytes of one tensor, shape (rows, bytes per row); a view of the file."""
        tensor = self.tensors[name]
        raw = np.frombuffer(self._data, np.uint8, tensor.bytes, tensor.offset)
        return raw.reshape(*tensor.shape[:-1], -1)

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        """A scalar number; ``None`` when absent. Raises ``ModelFormatError`` for another type."""
        value = self.metadata.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ModelFormatError(f"{self.path}: {key} is not a number", hint=_HINT)
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.metadata.get(key, default)
        return value if isinstance(value, bool) else default

    def strings(self, key: str) -> list[str]:
        """A list of strings; empty when absent."""
        value = self.metadata.get(key, [])
        if not isinstance(value, list):
            raise ModelFormatError(f"{self.path}: {key} is not a list of strings", hint=_HINT)
        return value

    def numbers(self, key: str) -> NDArray[np.generic] | None:
        value = self.metadata.get(key)
        return value if isinstance(value, np.ndarray) else None


class _Cursor:
    """A position in the file that cannot leave it."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.offset = 0

    def error(self, message: str) -> ModelFormatError:
        return ModelFormatError(f"{self.path}: {message}", hint=_HINT)

    def advance(self, size: int) -> int:
        """Step over ``size`` bytes; return where they start."""
        start = self.offset
        if size > len(self.data) - start:
            raise self.error("the file ends inside its header")
        self.offset = start + size
        return start

    def u32(self) -> int:
        return int(struct.unpack_from("<I", self.data, self.advance(4))[0])

    def u64(self) -> int:
        return int(struct.unpack_from("<Q", self.data, self.advance(8))[0])

    def text(self) -> str:
        size = self.u64()
        start = self.advance(size)
        try:
            return str(self.data[start : start + size], "utf-8")
        except UnicodeDecodeError as error:
            raise self.error("a string of the header is not UTF-8") from error

    def numbers(self, dtype: "np.dtype[Any]", count: int) -> NDArray[np.generic]:
        start = self.advance(dtype.itemsize * count)
        return np.frombuffer(self.data, dtype, count, start)


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise ModelNotFound(f"no model file at {path}", hint="lanai models list") from error
    except ValueError as error:  # mmap's word for an empty file
        raise ModelFormatError(f"{path} is empty", hint=_HINT) from error
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror}") from error


def _preamble(cursor: _Cursor) -> tuple[int, int]:
    if cursor.data[:4] != b"GGUF":
        if cursor.data[:2] in _PICKLES:
            raise ModelFormatError(
                f"{cursor.path} is a pickle, which runs code when it is read",
                hint="convert the model to safetensors, or take a GGUF file of it",
            )
        raise cursor.error("not a GGUF file")
    cursor.advance(4)
    version = cursor.u32()
    if version not in (2, 3):
        raise ModelFormatError(
            f"{cursor.path}: GGUF version {version} cannot be read",
            hint="little-endian files of version 2 or 3 can",
        )
    tensor_count, field_count = cursor.u64(), cursor.u64()
    smallest_entry = 13  # a key of no characters, a type, one byte of value
    if (tensor_count + field_count) * smallest_entry > len(cursor.data):
        raise cursor.error("the header claims more entries than the file can hold")
    return tensor_count, field_count


def _value(cursor: _Cursor, kind: int) -> MetadataValue:
    if kind == _STRING:
        return cursor.text()
    if kind == _ARRAY:
        return _array(cursor)
    if kind not in _SCALARS:
        raise cursor.error(f"unknown metadata type {kind}")
    value = cursor.numbers(_SCALARS[kind], 1)[0].item()
    return bool(value) if kind == _BOOL else value


def _array(cursor: _Cursor) -> list[str] | NDArray[np.generic]:
    kind, count = cursor.u32(), cursor.u64()
    if kind in _SCALARS:
        return cursor.numbers(_SCALARS[kind], count)
    if kind != _STRING:
        raise cursor.error(f"an array of metadata type {kind} cannot be read")
    if count * 8 > len(cursor.data) - cursor.offset:
        raise cursor.error("an array claims more strings than the file can hold")
    return [cursor.text() for _ in range(count)]


def _tensor(cursor: _Cursor) -> GgufTensor:
    """One table entry; ``offset`` is still relative to the data section."""
    name, dimensions = cursor.text(), cursor.u32()
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise cursor.error(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.u64() for _ in range(dimensions))[::-1]
    kind, offset = cursor.u32(), cursor.u64()
    elements = 1
    for size in shape:
        elements *= size
    if not 0 < elements <= _MAX_ELEMENTS:
        raise cursor.error(f"tensor {name!r} has an impossible shape")
    try:
        type_ = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[type_]
    except (ValueError, KeyError) as error:
        raise ModelFormatError(
            f"{cursor.path}: tensor {name!r} has unknown type {kind}",
            hint="quantize the model to a common type, such as Q4_K_M or Q8_0",
        ) from error
    if shape[-1] % block:
        raise cursor.error(f"tensor {name!r} does not consist of whole blocks")
    size = elements // block * block_bytes
    return GgufTensor(name=name, type=type_, shape=shape, offset=offset, bytes=size)


def _placed(
    cursor: _Cursor, tensors: list[GgufTensor], metadata: Mapping[str, MetadataValue]
) -> dict[str, GgufTensor]:
    """The table with offsets from the start of the file, every tensor's bytes its own."""
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.error("general.alignment is not a power of two")
    base = -(-cursor.offset // alignment) * alignment
    placed: dict[str, GgufTensor] = {}
    end = base
    for tensor in sorted(tensors, key=lambda entry: entry.offset):
        start = base + tensor.offset
        if tensor.offset % alignment or start < end:
            raise cursor.error(f"tensor {tensor.name!r} is misplaced or overlaps another")
        end = start + tensor.bytes
        if end > len(cursor.data):
            raise cursor.error(f"tensor {tensor.name!r} reaches past the end of the file")
        if tensor.name in placed:
            raise cursor.error(f"tensor {tensor.name!r} appears twice")
        placed[tensor.name] = GgufTensor(
            name=tensor.name,
            type=tensor.type,
            shape=tensor.shape,
            offset=start,
            bytes=tensor.bytes,
        )
    return placed
