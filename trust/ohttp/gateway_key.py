"""The gateway's X-Wing keys: what is logged, what is kept in a file, and which one is meant.

A key's id is the first byte of the SHA-256 of its public key, so that the logged public key says
everything a device needs. Two keys may share an id; both are tried then.
"""

import base64
import hashlib
import os
from collections.abc import Iterable
from typing import Final, Self

from lanai.errors import EnvelopeRejected, Rejection
from trust.hpke import AES_256_GCM, HKDF_SHA256, X_WING, XWingPrivateKey
from trust.ohttp.chunked import RequestOpener
from trust.ohttp.configuration import KeyConfiguration, Symmetric, parse_header

__all__ = ["GatewayKey", "GatewayKeys", "configuration_of", "key_id"]

SEED_BYTES: Final = 32
SYMMETRIC: Final = Symmetric(HKDF_SHA256.kdf_id, AES_256_GCM.aead_id)
_BEGIN: Final = "-----BEGIN LANAI X-WING SEED-----"
_END: Final = "-----END LANAI X-WING SEED-----"


def key_id(public_key: bytes) -> int:
    """The id requests name this key by (0…255)."""
    return hashlib.sha256(public_key).digest()[0]


def configuration_of(public_key: bytes) -> KeyConfiguration:
    """How to seal to a logged gateway key (1216 bytes, X-Wing). Raises ``EnvelopeRejected``."""
    if len(public_key) != X_WING.public_key_bytes:
        raise EnvelopeRejected("not a gateway's public key", reason=Rejection.MALFORMED)
    return KeyConfiguration(
        key_id=key_id(public_key),
        kem_id=X_WING.kem_id,
        public_key=public_key,
        symmetric=(SYMMETRIC,),
    )


class GatewayKey:
    """One key pair. ``private`` opens; ``public_key`` (1216 bytes) is what the log holds."""

    __slots__ = ("_seed", "private", "public_key")

    def __init__(self, seed: bytes) -> None:
        """From 32 secret random bytes. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        self._seed = seed
        self.private = XWingPrivateKey(seed)
        self.public_key = self.private.public_key

    @classmethod
    def generate(cls) -> Self:
        """A new pair from the system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    @property
    def configuration(self) -> KeyConfiguration:
        return configuration_of(self.public_key)

    def to_pem(self) -> bytes:
        """The secret seed for a key file that only the gateway may read."""
        text = base64.b64encode(self._seed).decode("ascii")
        return f"{_BEGIN}\n{text}\n{_END}\n".encode("ascii")

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """What ``to_pem`` wrote, to the byte. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        lines = data[:256].split(b"\n")
        try:
            key = cls(base64.b64decode(lines[1] if len(lines) > 1 else b"", validate=True))
        except ValueError:
            raise _no_seed() from None
        if key.to_pem() != data:
            raise _no_seed()
        return key

    def __repr__(self) -> str:
        return f"GatewayKey({key_id(self.public_key)})"


class GatewayKeys:
    """The keys in service: the current one, and older ones until they expire."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[GatewayKey]) -> None:
        self._keys = tuple(keys)

    def open(self, first: bytes, *, media: str) -> tuple[RequestOpener, bytes]:
        """Begin a request with its first piece: what opens the rest, and this piece's data.

        Raises ``EnvelopeRejected``: ``UNKNOWN_KEY`` when no key here has the id it names, else
        what the opener raised.
        """
        named, _ = parse_header(first)
        refusal = EnvelopeRejected("sealed to a key not held here", reason=Rejection.UNKNOWN_KEY)
        for key in self._keys:
            if key_id(key.public_key) != named:
                continue
            try:
                opener = RequestOpener(key.private, first, media=media)
                return opener, opener.open(first)
            except EnvelopeRejected as error:
                refusal = error
        raise refusal

    def __repr__(self) -> str:
        return f"GatewayKeys({len(self._keys)})"


def _no_seed() -> EnvelopeRejected:
    return EnvelopeRejected("no key of a gateway", reason=Rejection.MALFORMED)
