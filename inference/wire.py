"""Frames between an engine's parent and its child: sans-IO, bounded, no pickle.

    frame  = header length (u32, big-endian) ‖ blob length (u32) ‖ header ‖ blob
    header = msgpack map: ``kind``, plain fields, and ``arrays``: [[name, dtype, shape], …]
    blob   = the arrays' raw bytes in that order, C order, little-endian

Token ids of a prompt travel in the blob. A reader puts a frame together in one buffer of its exact
size, which is never moved and is overwritten once it is read. A frame that breaks a rule ends the
connection: both ends are ours, so a bad frame means a broken peer.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from lanai.errors import EngineCrashed

__all__ = ["MAX_BLOB_BYTES", "MAX_HEADER_BYTES", "FrameReader", "Message", "encode"]

MAX_HEADER_BYTES: Final = 1 << 16
MAX_BLOB_BYTES: Final = 1 << 24  # 4 million token ids, or a hidden state of as many floats
MAX_ARRAYS: Final = 8
LENGTHS: Final = struct.Struct(">II")
DTYPES: Final = {name: np.dtype(name) for name in ("<f4", "<i4", "<u4")}

Fields = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One frame's meaning. ``repr`` names the kind only: fields and arrays may be content."""

    kind: str
    fields: Fields = field(default_factory=dict, repr=False)
    arrays: Arrays = field(default_factory=dict, repr=False)

    def wipe(self) -> None:
        """Overwrite the arrays."""
        for array in self.arrays.values():
            array.fill(0)


def encode(message: Message) -> bytearray:
    """The frame of one message. Raises ``EngineCrashed`` when it exceeds the limits."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    described = [[name, _dtype_name(a), list(a.shape)] for name, a in arrays.items()]
    header = msgpack.packb({"kind": message.kind, "arrays": described, **message.fields})
    blob_bytes = sum(array.nbytes for array in arrays.values())
    _check_lengths(len(header), blob_bytes)
    frame = bytearray(LENGTHS.pack(len(header), blob_bytes))
    frame += header
    for array in arrays.values():
        frame += array.data.cast("B") if array.size else b""
    return frame


class FrameReader:
    """Bytes in, messages out; whole frames only. ``blob_limit`` (bytes) narrows the format's."""

    def __init__(self, *, blob_limit: int = MAX_BLOB_BYTES) -> None:
        self._blob_limit = blob_limit
        self._frame = bytearray(LENGTHS.size)
        self._filled = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Message]:
        """Yield each message that ``data`` completes. Raises ``EngineCrashed`` on a bad frame."""
        rest = memoryview(data)
        while rest:
            taken = min(len(rest), len(self._frame) - self._filled)
            # Into a view: assigned to a bytearray's slice, the bytes would be copied twice.
            memoryview(self._frame)[self._filled : self._filled + taken] = rest[:taken]
            self._filled += taken
            rest = rest[taken:]
            if self._filled == len(self._frame):
                yield from self._full()

    def wipe(self) -> None:
        """Overwrite and forget the part of a frame that has come."""
        self._frame[:] = bytes(len(self._frame))
        self._frame = bytearray(LENGTHS.size)
        self._filled = 0

    def _full(self) -> Iterator[Message]:
        if len(self._frame) == LENGTHS.size:
            self._make_room()
            return
        try:
            yield _decode(self._frame)
        finally:
            self.wipe()

    def _make_room(self) -> None:
        """The lengths are known: allocate the frame, once."""
        header_bytes, blob_bytes = LENGTHS.unpack(self._frame)
        _check_lengths(header_bytes, blob_bytes, self._blob_limit)
        if not header_bytes:
            raise _malformed()
        frame = bytearray(LENGTHS.size + header_bytes + blob_bytes)
        frame[: LENGTHS.size] = self._frame
        self._frame = frame


def _decode(frame: bytearray) -> Message:
    header_bytes, _ = LENGTHS.unpack_from(frame)
    blob_start = LENGTHS.size + header_bytes
    view = memoryview(frame)
    header = _decode_header(view[LENGTHS.size : blob_start])
    kind, described = header.pop("kind", None), header.pop("arrays", None)
    if not isinstance(kind, str) or not isinstance(described, list):
        raise _malformed()
    return Message(kind=kind, fields=header, arrays=_take_arrays(described, view[blob_start:]))


def _decode_header(header: memoryview) -> Fields:
    try:
        value = msgpack.unpackb(header, strict_map_key=True, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        raise _malformed() from None
    if not isinstance(value, dict):
        raise _malformed()
    return value


def _take_arrays(described: list[Any], blob: memoryview) -> Arrays:
    if len(described) > MAX_ARRAYS:
        raise _malformed()
    arrays: Arrays = {}
    start = 0
    for name, dtype, shape in map(_description, described):
        end = start + dtype.itemsize * math.prod(shape)
        if end > len(blob) or name in arrays:
            raise _malformed()
        # Copied out: the buffer is overwritten once the frame is done.
        arrays[name] = np.frombuffer(blob[start:end], dtype=dtype).reshape(shape).copy()
        start = end
    if start != len(blob):
        raise _malformed()
    return arrays


def _description(value: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    match value:
        case [str(name), str(dtype), [*shape]] if dtype in DTYPES and len(shape) <= 2:
            if all(type(side) is int and 0 <= side <= MAX_BLOB_BYTES for side in shape):
                return name, DTYPES[dtype], tuple(shape)
    raise _malformed()


def _dtype_name(array: NDArray[Any]) -> str:
    if array.dtype.str not in DTYPES:
        raise _malformed()
    return array.dtype.str


def _check_lengths(header_bytes: int, blob_bytes: int, blob_limit: int = MAX_BLOB_BYTES) -> None:
    if header_bytes > MAX_HEADER_BYTES or blob_bytes > blob_limit:
        raise _malformed()


def _malformed() -> EngineCrashed:
    return EngineCrashed("malformed frame between the engine and its child")
