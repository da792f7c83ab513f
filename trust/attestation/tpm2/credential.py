"""``TPM2_MakeCredential`` without a TPM: a secret that one TPM alone can open, for one of its keys.

TCG TPM 2.0 Library, part 1, sections 24 (credential protection), 11.4.10 (KDFa, KDFe) and annexes B
and C (secret sharing with RSA and elliptic curves). What comes out goes into
``TPM2_ActivateCredential`` on the TPM that holds the endorsement key *and* a key of that name.
"""

import hmac
import os
from dataclasses import dataclass, field
from hashlib import new
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from trust.attestation.tpm2.reader import sized
from trust.attestation.tpm2.structures import SHA256, PublicArea
from trust.strict import malformed

__all__ = ["Credential", "make_credential"]

_HASHES: Final = {SHA256: ("sha256", hashes.SHA256), 0x000C: ("sha384", hashes.SHA384)}
_IDENTITY: Final = b"IDENTITY\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """``blob`` is a ``TPM2B_ID_OBJECT``, ``secret`` a ``TPM2B_ENCRYPTED_SECRET``."""

    blob: bytes = field(repr=False)
    secret: bytes = field(repr=False)


def make_credential(endorsement: PublicArea, name: bytes, value: bytes) -> Credential:
    """Seal ``value`` (at most 32 bytes) for the key called ``name`` in the TPM of ``endorsement``.

    Raises ``TrustError`` (``malformed``) when the endorsement key is no storage key.
    """
    if not endorsement.symmetric_bits or not 0 < len(value) <= 32:
        raise malformed("a credential needs a storage key and a short value")
    algorithm, _ = _HASHES[endorsement.name_algorithm]
    seed, secret = _share_seed(endorsement)
    size = new(algorithm).digest_size
    key = _kdfa(algorithm, seed, b"STORAGE", name, endorsement.symmetric_bits // 8)
    # A zero vector is safe: the key is used once.
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    hidden = encryptor.update(sized(value)) + encryptor.finalize()
    integrity = _kdfa(algorithm, seed, b"INTEGRITY", b"", size)
    outer = hmac.digest(integrity, hidden + name, algorithm)
    return Credential(blob=sized(sized(outer) + hidden), secret=sized(secret))


def _share_seed(endorsement: PublicArea) -> tuple[bytes, bytes]:
    """A seed, and the form in which the TPM gets it."""
    algorithm, made = _HASHES[endorsement.name_algorithm]
    size = made().digest_size
    key = endorsement.key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        seed = os.urandom(size)
        oaep = padding.OAEP(padding.MGF1(made()), made(), _IDENTITY)
        return seed, key.encrypt(seed, oaep)
    ephemeral = ec.generate_private_key(key.curve)
    ours, theirs = _point(ephemeral.public_key()), _point(key)
    shared = ephemeral.exchange(ec.ECDH(), key)
    seed = _kdfe(algorithm, shared, ours[0] + theirs[0], size)
    return seed, b"".join(map(sized, ours))


def _point(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    size = (key.curve.key_size + 7) // 8
    numbers = key.public_numbers()
    return numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")


def _kdfa(algorithm: str, key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """SP 800-108 in counter mode with HMAC; one block is always enough here."""
    message = b"\0\0\0\1" + label + b"\0" + context + (size * 8).to_bytes(4, "big")
    return hmac.digest(key, message, algorithm)[:size]


def _kdfe(algorithm: str, shared: bytes, parties: bytes, size: int) -> bytes:
    """SP 800-56A with a hash; one block, since ``size`` is that of the hash."""
    return new(algorithm, b"\0\0\0\1" + shared + _IDENTITY + parties).digest()[:size]
