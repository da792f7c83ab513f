"""The AEADs of HPKE (RFC 9180, section 7.3), each by its number."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

__all__ = ["AES_128_GCM", "AES_256_GCM", "CHACHA20_POLY1305", "EXPORT_ONLY", "Aead", "Cipher"]

TAG_BYTES = 16


class Cipher(Protocol):
    """A key in use. ``decrypt`` raises ``InvalidTag``."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Aead:
    """Sizes in bytes; ``cipher`` is None for the export-only suite."""

    aead_id: int
    key_bytes: int
    nonce_bytes: int
    cipher: Callable[[bytes], Cipher] | None

    @property
    def entropy_bytes(self) -> int:
        """The larger of key and nonce: what OHTTP calls ``max(Nn, Nk)``."""
        return max(self.key_bytes, self.nonce_bytes)


AES_128_GCM = Aead(aead_id=1, key_bytes=16, nonce_bytes=12, cipher=AESGCM)
AES_256_GCM = Aead(aead_id=2, key_bytes=32, nonce_bytes=12, cipher=AESGCM)
CHACHA20_POLY1305 = Aead(aead_id=3, key_bytes=32, nonce_bytes=12, cipher=ChaCha20Poly1305)
EXPORT_ONLY = Aead(aead_id=0xFFFF, key_bytes=0, nonce_bytes=0, cipher=None)
