"""X-Wing, KEM 0x647A: ML-KEM-768 and X25519 (draft-connolly-cfrg-xwing-kem).

Safe as long as either part is. The public key is ML-KEM's (1184 bytes) and X25519's (32), the
encapsulation ML-KEM's (1088) and X25519's (32), the private key a seed of 32 bytes.
"""

import hashlib
import os
from functools import lru_cache
from typing import Final, NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from trust.hpke.kem import Encapsulated
from trust.hpke.refusals import bad_key

__all__ = ["X_WING", "XWing", "XWingPrivateKey", "expand_seed", "load_public_key"]

LABEL: Final = b"\\.//^\\"
SEED_BYTES: Final = 32
MLKEM_PUBLIC_BYTES: Final = 1184
MLKEM_ENC_BYTES: Final = 1088
X25519_BYTES: Final = 32


class PrivatePair(NamedTuple):
    """Both private halves, as the library has them."""

    post_quantum: mlkem.MLKEM768PrivateKey
    classical: x25519.X25519PrivateKey


class PublicPair(NamedTuple):
    """Both public halves."""

    post_quantum: mlkem.MLKEM768PublicKey
    classical: x25519.X25519PublicKey


class XWing:
    """The public side."""

    __slots__ = ()

    kem_id: Final = 0x647A
    public_key_bytes: Final = MLKEM_PUBLIC_BYTES + X25519_BYTES
    enc_bytes: Final = MLKEM_ENC_BYTES + X25519_BYTES

    def encapsulate(self, public_key: bytes) -> Encapsulated:
        """With fresh randomness. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        post_quantum, classical = load_public_key(public_key)
        secret, enc = post_quantum.encapsulate()
        return combined(secret, enc, x25519.X25519PrivateKey.generate(), classical)


class XWingPrivateKey:
    """A key pair. The private half lives in this process's memory; ``repr`` shows nothing."""

    __slots__ = ("_pair", "kem", "public_key")

    def __init__(self, seed: bytes) -> None:
        """From 32 secret random bytes. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        self._pair = expand_seed(seed)
        self.kem = X_WING
        self.public_key = (
            self._pair.post_quantum.public_key().public_bytes_raw()
            + self._pair.classical.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> Self:
        """A new pair from the system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    def decapsulate(self, enc: bytes) -> bytes:
        """A damaged ML-KEM part gives another secret (implicit rejection), not an error."""
        if len(enc) != XWing.enc_bytes:
            raise bad_key("an X-Wing encapsulation")
        post_quantum, point = enc[:MLKEM_ENC_BYTES], enc[MLKEM_ENC_BYTES:]
        try:
            secret = self._pair.post_quantum.decapsulate(post_quantum)
            shared = self._pair.classical.exchange(x25519.X25519PublicKey.from_public_bytes(point))
        except ValueError:
            raise bad_key("an X-Wing encapsulation") from None
        return _combine(secret, shared, point, self.public_key[MLKEM_PUBLIC_BYTES:])

    def __repr__(self) -> str:
        return "XWingPrivateKey(…)"


def expand_seed(seed: bytes) -> PrivatePair:
    """``expandDecapsulationKey``. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
    if len(seed) != SEED_BYTES:
        raise bad_key(f"a seed of {SEED_BYTES} bytes")
    expanded = hashlib.shake_256(seed).digest(96)
    return PrivatePair(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


@lru_cache(maxsize=256)
def load_public_key(raw: bytes) -> PublicPair:
    """Both halves of a raw public key, kept: a device seals to the same few again and again.

    Raises ``EnvelopeRejected`` (``MALFORMED``).
    """
    if len(raw) != XWing.public_key_bytes:
        raise bad_key("an X-Wing public key")
    try:
        return PublicPair(
            mlkem.MLKEM768PublicKey.from_public_bytes(raw[:MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(raw[MLKEM_PUBLIC_BYTES:]),
        )
    except ValueError:
        raise bad_key("an X-Wing public key") from None


def combined(
    secret: bytes,
    enc: bytes,
    ephemeral: x25519.X25519PrivateKey,
    classical: x25519.X25519PublicKey,
) -> Encapsulated:
    """The X25519 half added to an ML-KEM encapsulation. Refuses a point of low order."""
    point = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(classical)
    except ValueError:
        raise bad_key("an X-Wing public key") from None
    combination = _combine(secret, shared, point, classical.public_bytes_raw())
    return Encapsulated(shared_secret=combination, enc=enc + point)


def _combine(post_quantum: bytes, classical: bytes, point: bytes, public_key: bytes) -> bytes:
    return hashlib.sha3_256(post_quantum + classical + point + public_key + LABEL).digest()


X_WING = XWing()
