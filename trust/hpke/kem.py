"""What HPKE asks of a KEM, whichever it is."""

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Encapsulated", "Kem", "PrivateKey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encapsulated:
    """A fresh shared secret, and what lets the holder of the private key find it."""

    shared_secret: bytes = field(repr=False)
    enc: bytes


class Kem(Protocol):
    """The public side. ``kem_id`` is IANA's number; sizes are bytes."""

    @property
    def kem_id(self) -> int: ...
    @property
    def public_key_bytes(self) -> int: ...
    @property
    def enc_bytes(self) -> int: ...

    def encapsulate(self, public_key: bytes) -> Encapsulated:
        """To a raw public key. Raises ``EnvelopeRejected`` (``MALFORMED``)."""


class PrivateKey(Protocol):
    """The private side of one key pair."""

    @property
    def kem(self) -> Kem: ...
    @property
    def public_key(self) -> bytes: ...

    def decapsulate(self, enc: bytes) -> bytes:
        """The shared secret. Raises ``EnvelopeRejected`` (``MALFORMED``, ``DECRYPTION``)."""
