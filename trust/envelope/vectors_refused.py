"""The refused cases of the vectors: a sound envelope, one change, and the reason.

``do`` is what is done: ``flip`` the lowest bit of a field's first byte, ``set`` a header's number,
``drop``, ``swap``, ``repeat`` or ``cut`` (by a byte) a chunk or frame, change its ``last``, open it
at another time (``now``) or with another node's key or TLS key.
"""

from typing import Any, Final

__all__ = ["REFUSED"]

ONE: Final = "one node"
THREE: Final = "three nodes"
TWO_CHUNKS: Final = "two chunks"


def _header(do: str, field: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"of": THREE, "do": do, "field": field, "reason": reason, **more}


def _stream(of: str, what: str, do: str, place: int, reason: str) -> dict[str, Any]:
    return {"of": of, "do": do, "in": what, "place": place, "reason": reason}


REFUSED: Final = [
    _header("flip", "request_id", "decryption"),
    _header("flip", "token_hash", "decryption"),
    _header("flip", "checkpoint_hash", "decryption"),
    _header("flip", "policy_digest", "decryption"),
    _header("flip", "key_commitment", "commitment"),
    _header("flip", "own key", "decryption"),
    _header("flip", "another key", "commitment"),
    _header("set", "expires_at", "decryption", value=1_800_000_061),
    _header("set", "expires_at", "lifetime", value=1_800_003_601),
    _header("set", "version", "version", value=2),
    _header("swap", "keys", "malformed"),
    _header("repeat", "keys", "too_large", value=17),
    _header("drop", "keys", "malformed"),
    {"of": ONE, "do": "now", "value": 1_800_000_060, "reason": "expired"},
    {"of": ONE, "do": "now", "value": 1_799_996_459, "reason": "lifetime"},
    {"of": ONE, "do": "node", "reason": "not_addressed"},
    {"of": ONE, "do": "tls", "reason": "decryption"},
    _stream(ONE, "chunks", "flip", 0, "decryption"),
    _stream(ONE, "chunks", "last", 0, "malformed"),
    _stream(TWO_CHUNKS, "chunks", "drop", 1, "truncated"),
    _stream(TWO_CHUNKS, "chunks", "drop", 0, "decryption"),
    _stream(TWO_CHUNKS, "chunks", "repeat", 1, "after_end"),
    _stream(ONE, "frames", "flip", 0, "decryption"),
    _stream(ONE, "frames", "flip", 3, "decryption"),
    _stream(ONE, "frames", "swap", 1, "decryption"),
    _stream(ONE, "frames", "last", 2, "decryption"),
    _stream(ONE, "frames", "cut", 1, "malformed"),
    _stream(ONE, "frames", "drop", -1, "truncated"),
    _stream(ONE, "frames", "repeat", -1, "after_end"),
]
