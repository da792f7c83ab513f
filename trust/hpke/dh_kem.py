"""DHKEM over X25519 and P-256 with HKDF-SHA-256 (RFC 9180, section 4.1).

Lanai's own messages use X-Wing. These are here for what other OHTTP gateways and clients speak, and
because the published vectors of HPKE and OHTTP are made with them.
"""

from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from trust.hpke.kdf import HKDF_SHA256
from trust.hpke.kem import Encapsulated
from trust.hpke.refusals import bad_key

__all__ = ["P256", "X25519", "DhKem", "DhPrivateKey", "dh_private_key"]

SECRET_BYTES: Final = 32
X25519_ID: Final = 0x0020
P256_ID: Final = 0x0010
P256_POINT_BYTES: Final = 65


class DhKem:
    """One of the two curves. Make a key with ``generate`` or ``private_key``."""

    __slots__ = ("kem_id", "public_key_bytes")

    def __init__(self, kem_id: int) -> None:
        self.kem_id = kem_id
        self.public_key_bytes = P256_POINT_BYTES if kem_id == P256_ID else SECRET_BYTES

    @property
    def enc_bytes(self) -> int:
        return self.public_key_bytes

    @property
    def suite_id(self) -> bytes:
        return b"KEM" + self.kem_id.to_bytes(2, "big")

    def generate(self) -> "DhPrivateKey":
        """A new pair from the system's randomness."""
        if self.kem_id == P256_ID:
            return DhPrivateKey(self, ec.generate_private_key(ec.SECP256R1()))
        return DhPrivateKey(self, x25519.X25519PrivateKey.generate())

    def private_key(self, secret: bytes) -> "DhPrivateKey":
        """From a serialized private key. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        return DhPrivateKey(self, dh_private_key(self.kem_id, secret))

    def encapsulate(self, public_key: bytes) -> Encapsulated:
        """With a fresh ephemeral key."""
        return self.encapsulate_from(self.generate(), public_key)

    def encapsulate_from(self, ephemeral: "DhPrivateKey", public_key: bytes) -> Encapsulated:
        """With a given ephemeral key, which must never serve twice."""
        enc = ephemeral.public_key
        dh = ephemeral.exchange(public_key)
        return Encapsulated(shared_secret=self.shared_secret(dh, enc + public_key), enc=enc)

    def shared_secret(self, dh: bytes, context: bytes) -> bytes:
        """``ExtractAndExpand``."""
        prk = HKDF_SHA256.labeled_extract(self.suite_id, b"", b"eae_prk", dh)
        return HKDF_SHA256.labeled_expand(
            self.suite_id, prk, b"shared_secret", context, SECRET_BYTES
        )


class DhPrivateKey:
    """A pair on the KEM's curve; ``repr`` shows nothing."""

    __slots__ = ("_private", "kem", "public_key")

    def __init__(
        self, kem: DhKem, private: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
    ) -> None:
        self.kem = kem
        self._private = private
        self.public_key = _public_bytes(private)

    def decapsulate(self, enc: bytes) -> bytes:
        return self.kem.shared_secret(self.exchange(enc), enc + self.public_key)

    def exchange(self, public_key: bytes) -> bytes:
        """Diffie-Hellman. Refuses points off the curve and of low order (``MALFORMED``)."""
        if len(public_key) != self.kem.public_key_bytes:
            raise bad_key("a public key of this curve")
        try:
            if isinstance(self._private, x25519.X25519PrivateKey):
                peer = x25519.X25519PublicKey.from_public_bytes(public_key)
                return self._private.exchange(peer)
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
            return self._private.exchange(ec.ECDH(), point)
        except ValueError:
            raise bad_key("a public key of this curve") from None

    def __repr__(self) -> str:
        return "DhPrivateKey(…)"


def dh_private_key(
    kem_id: int, secret: bytes
) -> x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey:
    """``DeserializePrivateKey``. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
    try:
        if kem_id == P256_ID:
            return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        return x25519.X25519PrivateKey.from_private_bytes(secret)
    except ValueError:
        raise bad_key("a private key of this curve") from None


def _public_bytes(private: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    if isinstance(private, x25519.X25519PrivateKey):
        return private.public_key().public_bytes_raw()
    return private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


X25519 = DhKem(X25519_ID)
P256 = DhKem(P256_ID)
