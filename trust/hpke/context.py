"""HPKE's key schedule and its two contexts, base mode (RFC 9180, section 5).

Nonce of message i: base nonce XOR i. A context numbers its messages itself, so one that was moved,
repeated or dropped does not open.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag

from lanai.errors import UsageError
from trust.hpke.aead import Aead
from trust.hpke.kdf import Hkdf
from trust.hpke.kem import Kem, PrivateKey
from trust.hpke.refusals import bad_key, does_not_open, ended

__all__ = ["Opener", "Sealer", "Suite"]

BASE_MODE: Final = b"\x00"
EXPORTS: Final = "an export-only suite seals nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A KEM, a KDF and an AEAD."""

    kem: Kem
    kdf: Hkdf
    aead: Aead

    @property
    def suite_id(self) -> bytes:
        numbers = (self.kem.kem_id, self.kdf.kdf_id, self.aead.aead_id)
        return b"HPKE" + b"".join(number.to_bytes(2, "big") for number in numbers)

    def seal_to(self, public_key: bytes, *, info: bytes) -> "Sealer":
        """``SetupBaseS``; ``sealer.enc`` goes before the messages."""
        encapsulated = self.kem.encapsulate(public_key)
        return Sealer(self, encapsulated.shared_secret, info=info, enc=encapsulated.enc)

    def open_with(self, key: PrivateKey, enc: bytes, *, info: bytes) -> "Opener":
        """``SetupBaseR``. A key that ``enc`` was not made for shows at the first message."""
        if key.kem.kem_id != self.kem.kem_id:
            raise bad_key("a key of this suite")
        return Opener(self, key.decapsulate(enc), info=info, enc=enc)


class _Context:
    __slots__ = ("_base_nonce", "_cipher", "_exporter", "_suite_id", "enc", "sequence", "suite")

    def __init__(self, suite: Suite, shared_secret: bytes, *, info: bytes, enc: bytes) -> None:
        """``KeySchedule`` (section 5.1)."""
        kdf, aead, suite_id = suite.kdf, suite.aead, suite.suite_id
        context = (
            BASE_MODE
            + kdf.labeled_extract(suite_id, b"", b"psk_id_hash", b"")
            + kdf.labeled_extract(suite_id, b"", b"info_hash", info)
        )
        secret = kdf.labeled_extract(suite_id, shared_secret, b"secret", b"")
        self.suite, self._suite_id, self.enc = suite, suite_id, enc
        self._exporter = kdf.labeled_expand(suite_id, secret, b"exp", context, kdf.hash_bytes)
        self.sequence = 0
        """Number of the next message."""
        self._cipher, self._base_nonce = None, 0
        if aead.cipher is not None:
            key = kdf.labeled_expand(suite_id, secret, b"key", context, aead.key_bytes)
            nonce = kdf.labeled_expand(suite_id, secret, b"base_nonce", context, aead.nonce_bytes)
            self._cipher, self._base_nonce = aead.cipher(key), int.from_bytes(nonce, "big")

    def export(self, context: bytes, size: int) -> bytes:
        """``Export`` (section 5.3): a secret of ``size`` bytes both sides have."""
        kdf = self.suite.kdf
        return kdf.labeled_expand(self._suite_id, self._exporter, b"sec", context, size)

    def _nonce(self) -> bytes:
        size = self.suite.aead.nonce_bytes
        if self.sequence >= 2 ** (8 * size) - 1:
            raise ended()
        return (self._base_nonce ^ self.sequence).to_bytes(size, "big")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sequence} messages)"


class Sealer(_Context):
    """The sender's context. Holds secrets."""

    __slots__ = ()

    def seal(self, plaintext: bytes, *, aad: bytes = b"") -> bytes:
        """The next message, sealed. Raises ``UsageError`` for an export-only suite."""
        if self._cipher is None:
            raise UsageError(EXPORTS)
        sealed = self._cipher.encrypt(self._nonce(), plaintext, aad)
        self.sequence += 1
        return sealed


class Opener(_Context):
    """The receiver's context. Holds secrets."""

    __slots__ = ()

    def open(self, sealed: bytes, *, aad: bytes = b"") -> bytes:
        """The next message. Raises ``EnvelopeRejected`` (``DECRYPTION``); then nothing moved on."""
        if self._cipher is None:
            raise UsageError(EXPORTS)
        try:
            plaintext = self._cipher.decrypt(self._nonce(), sealed, aad)
        except (InvalidTag, ValueError):
            raise does_not_open() from None
        self.sequence += 1
        return plaintext
