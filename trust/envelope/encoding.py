"""One canonical encoding for everything that is hashed, signed or bound.

Each field is its length in four bytes, big-endian, and its bytes. Two field lists with one encoding
are the same list, so no byte can move from a field to its neighbour.
"""

import hashlib

__all__ = ["digest", "fields", "uint"]


def fields(*parts: bytes) -> bytes:
    """Concatenation of ``length (4 bytes, big-endian) || part`` for each part."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def uint(value: int) -> bytes:
    """``value`` in eight bytes, big-endian: the form of every number in a field."""
    return value.to_bytes(8, "big")


def digest(*parts: bytes) -> bytes:
    """SHA-256 (32 bytes) of ``fields(*parts)``. The first part is a label that names the use."""
    return hashlib.sha256(fields(*parts)).digest()
