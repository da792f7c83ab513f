"""Keys: the node's X-Wing pair, the secrets wrapped to it, and what is derived from them.

HPKE (RFC 9180, base mode, single shot) with KEM 0x647a (X-Wing: ML-KEM-768 and X25519),
HKDF-SHA-256 and AES-256-GCM. HKDF is RFC 5869.
"""

import hashlib
import os
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes, hpke
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lanai.errors import EnvelopeRejected, Rejection
from trust.envelope.encoding import fields
from trust.envelope.header import HINT, EnvelopeHeader
from trust.hpke.x_wing import expand_seed, load_public_key

__all__ = ["NodeKey", "RequestSecrets"]

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
SEED_BYTES = 32
SECRET_BYTES = 32
LABEL_WRAP = b"lanai v1alpha wrapped key"
LABEL_COMMITMENT = b"lanai v1alpha key commitment"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestSecrets:
    """What one node finds in its wrapped key.

    ``data_key`` is the same for all K nodes and opens the body. ``answer_secret`` is this node's
    alone, so an answer that opens under it came from this node and no other of the K.
    """

    data_key: bytes  # 32
    answer_secret: bytes  # 32

    @classmethod
    def parse(cls, secret: bytes) -> Self:
        """From ``data_key || answer_secret``. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        if len(secret) != 2 * SECRET_BYTES:
            raise EnvelopeRejected(
                "wrapped secrets of the wrong size", reason=Rejection.MALFORMED, hint=HINT
            )
        return cls(data_key=secret[:SECRET_BYTES], answer_secret=secret[SECRET_BYTES:])

    def to_bytes(self) -> bytes:
        """``data_key || answer_secret`` (64 bytes)."""
        return self.data_key + self.answer_secret

    def __repr__(self) -> str:
        return "RequestSecrets(…)"


class NodeKey:
    """A node's X-Wing key pair. The private half lives in this process's memory only."""

    __slots__ = ("_private", "node_id", "public_key")

    def __init__(self, seed: bytes) -> None:
        """From 32 secret random bytes (draft-connolly-cfrg-xwing-kem, section 5.2)."""
        if len(seed) != SEED_BYTES:
            raise EnvelopeRejected(
                f"seed: {len(seed)} bytes, expected {SEED_BYTES}",
                reason=Rejection.MALFORMED,
                hint="use NodeKey.generate()",
            )
        post_quantum, classical = expand_seed(seed)
        self._private = hpke.MLKEM768X25519PrivateKey(post_quantum, classical)
        self.public_key = (
            post_quantum.public_key().public_bytes_raw() + classical.public_key().public_bytes_raw()
        )
        self.node_id = hashlib.sha256(self.public_key).digest()

    @classmethod
    def generate(cls) -> Self:
        """A new pair from the system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    def unwrap(self, sealed: bytes, *, info: bytes) -> bytes:
        """Open one wrapped key. Raises ``EnvelopeRejected`` (``DECRYPTION``)."""
        try:
            return SUITE.decrypt(sealed, self._private, info)
        except (InvalidTag, ValueError):
            raise EnvelopeRejected(
                "the wrapped key does not open with this node's key",
                reason=Rejection.DECRYPTION,
                hint=HINT,
            ) from None

    def __repr__(self) -> str:
        return f"NodeKey({self.node_id.hex()[:16]})"


def wrap(secret: bytes, public_key: bytes, *, info: bytes) -> bytes:
    """Seal ``secret`` to a node's public key: HPKE ``enc || ciphertext``.

    Raises ``EnvelopeRejected`` (``MALFORMED``), also for a key whose X25519 point has low order.
    """
    key = _load_public_key(public_key)
    try:
        return SUITE.encrypt(secret, key, info)
    except ValueError:
        raise _bad_public_key() from None


def wrap_info(context_hash: bytes, node_id: bytes, tls_spki_sha256: bytes) -> bytes:
    """HPKE ``info`` of one wrapped key: the header's context, the node, and its TLS key."""
    return fields(LABEL_WRAP, context_hash, node_id, tls_spki_sha256)


def commitment(data_key: bytes, committed_hash: bytes) -> bytes:
    """Commits to the data key and, as a MAC under it, to the rest of the header (32 bytes).

    AES-GCM alone commits to neither: one ciphertext can be made to open under two keys.
    """
    return derive(data_key, salt=committed_hash, info=LABEL_COMMITMENT, size=32)


def require_commitment(secrets: RequestSecrets, header: EnvelopeHeader) -> None:
    """Raise ``EnvelopeRejected`` (``COMMITMENT``) unless header and data key belong together."""
    expected = commitment(secrets.data_key, header.committed_hash())
    if not constant_time.bytes_eq(expected, header.key_commitment):
        raise EnvelopeRejected(
            "the key commitment does not match", reason=Rejection.COMMITMENT, hint=HINT
        )


def derive(secret: bytes, *, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA-256."""
    return HKDF(hashes.SHA256(), size, salt, info).derive(secret)


def _load_public_key(raw: bytes) -> hpke.MLKEM768X25519PublicKey:
    try:
        return hpke.MLKEM768X25519PublicKey(*load_public_key(raw))
    except EnvelopeRejected:
        raise _bad_public_key() from None


def _bad_public_key() -> EnvelopeRejected:
    return EnvelopeRejected(
        "not an X-Wing public key", reason=Rejection.MALFORMED, hint="fetch the roster again"
    )
