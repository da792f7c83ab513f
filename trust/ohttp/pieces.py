"""Chunks with their length in front (draft-ietf-ohai-chunked-ohttp, sections 3 and 4).

A length is a variable-length integer of QUIC (RFC 9000, section 16). The final chunk has length 0
and goes on to the end of its message.
"""

from collections.abc import Iterator
from typing import Final

from lanai.errors import EnvelopeRejected, Rejection

__all__ = ["MAX_PIECE_BYTES", "join_chunk", "split_chunk", "split_message"]

MAX_PIECE_BYTES: Final = 1024 * 1024
"""No chunk of either direction is longer. The draft asks for 16 KiB at least."""
_LARGEST: Final = 2**62 - 1


def write_varint(value: int) -> bytes:
    """The shortest encoding of ``value``, 1 to 8 bytes."""
    for size, mark in ((1, 0x00), (2, 0x40), (4, 0x80), (8, 0xC0)):
        if value < 1 << (8 * size - 2):
            return (value | mark << 8 * (size - 1)).to_bytes(size, "big")
    raise EnvelopeRejected(f"a length above {_LARGEST}", reason=Rejection.TOO_LARGE)


def read_varint(data: bytes, start: int = 0) -> tuple[int, int]:
    """The number at ``start``, of any encoding, and where it ends. Raises ``EnvelopeRejected``."""
    if start >= len(data):
        raise _malformed("a length is missing")
    size = 1 << (data[start] >> 6)
    end = start + size
    if end > len(data):
        raise _malformed("a length is cut")
    return int.from_bytes(data[start:end], "big") & ((1 << (8 * size - 2)) - 1), end


def join_chunk(sealed: bytes, *, final: bool) -> bytes:
    """One sealed chunk with its length in front, 0 for the final one."""
    return write_varint(0 if final else len(sealed)) + sealed


def split_chunk(piece: bytes) -> tuple[bytes, bool]:
    """The sealed chunk that ``piece`` is, all of it, and whether it says it is the final one.

    What it says is believed only when the chunk opens: the length is not authenticated, finality
    is. Raises ``EnvelopeRejected`` (``MALFORMED``, ``TOO_LARGE``).
    """
    size, start = _length(piece, 0)
    if size and len(piece) - start != size:
        raise _malformed("a chunk of another length than it says")
    return piece[start:], size == 0


def split_message(message: bytes, *, prefix_bytes: int) -> Iterator[bytes]:
    """The pieces of a whole message, the first with its prefix. Raises ``EnvelopeRejected``."""
    start, at = 0, prefix_bytes
    while start < len(message):
        size, begins = _length(message, at)
        end = begins + size if size else len(message)
        if end > len(message):
            raise _malformed("a chunk is cut")
        yield message[start:end]
        start = at = end


def _length(data: bytes, start: int) -> tuple[int, int]:
    size, begins = read_varint(data, start)
    if max(size, 0 if size else len(data) - begins) > MAX_PIECE_BYTES:
        raise EnvelopeRejected(
            f"a chunk of more than {MAX_PIECE_BYTES} bytes", reason=Rejection.TOO_LARGE
        )
    return size, begins


def _malformed(message: str) -> EnvelopeRejected:
    return EnvelopeRejected(message, reason=Rejection.MALFORMED)
