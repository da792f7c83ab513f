"""The seam every store implements, and the checks all of them share."""

from collections.abc import Mapping
from typing import Protocol

from lanai.errors import UsageError

__all__ = [
    "DIGEST_BYTES",
    "MAX_ANNOUNCEMENT_BYTES",
    "REQUEST_ID_BYTES",
    "Store",
    "check_announcement",
    "check_id",
    "check_ttl",
]

DIGEST_BYTES = 32
REQUEST_ID_BYTES = 16
MAX_ANNOUNCEMENT_BYTES = 192 * 1024  # above the largest bundle


class Store(Protocol):
    """What gateway and nodes share. Every method raises ``StoreError`` when the store fails.

    Keys are 32-byte hashes or 16-byte random ids; anything else is a ``UsageError`` of the caller.
    """

    async def spend_token(self, token_hash: bytes, *, ttl_s: int) -> bool:
        """Mark a token spent. True for exactly one caller until ``ttl_s`` seconds have passed."""

    async def burn_request(self, request_id: bytes, *, ttl_s: int) -> bool:
        """Mark a request id used. True for exactly one caller until ``ttl_s`` seconds passed."""

    async def announce(self, node_id: bytes, announcement: bytes, *, ttl_s: int) -> None:
        """Put a node's signed announcement in the roster, replacing its last one."""

    async def withdraw(self, node_id: bytes) -> None:
        """Take a node out of the roster. Absent nodes are ignored."""

    async def roster(self) -> Mapping[bytes, bytes]:
        """Announcements that have not lapsed, by node id. Unverified: the reader checks each."""

    async def connect(self) -> None:
        """Open every connection there may be, so that no request waits for one. Raises nothing."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def close(self) -> None:
        """Give up the connections. Idempotent."""


def check_id(value: bytes, length: int) -> bytes:
    """``value`` when it is exactly ``length`` bytes: no caller can store more than a hash."""
    if not isinstance(value, bytes) or len(value) != length:
        raise UsageError(f"a store key is exactly {length} bytes")
    return value


def check_ttl(ttl_s: int) -> int:
    """``ttl_s`` when it is a whole number of seconds above zero: nothing is kept forever."""
    if type(ttl_s) is not int or ttl_s < 1:
        raise UsageError("a store entry's time to live is a whole number of seconds, at least 1")
    return ttl_s


def check_announcement(value: bytes) -> bytes:
    """``value`` when it is small enough for a roster that is read several times a second."""
    if not isinstance(value, bytes) or not 0 < len(value) <= MAX_ANNOUNCEMENT_BYTES:
        raise UsageError(f"an announcement is 1 to {MAX_ANNOUNCEMENT_BYTES} bytes")
    return value
