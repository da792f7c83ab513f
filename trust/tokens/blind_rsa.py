"""RFC 9474, client and verifier side: prepare, blind, finalize, verify. SHA-384, MGF1-SHA-384.

Blinding runs on Python integers, which is not constant time: it runs on the holder's own device, on
values used once. The issuer's private operation is in ``libcrypto``.
"""

import hashlib
import math
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lanai.errors import Rejection, TokenRejected

__all__ = ["SALT_BYTES", "Blinded", "blind", "encode_pss", "finalize", "prepare", "verify"]

SALT_BYTES = 48
HASH_BYTES = 48
PREFIX_BYTES = 32
HINT = "fetch new tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blinded:
    """A blinded message and the secret that takes the blinding off its signature."""

    message: bytes
    inverse: int = field(repr=False)


def prepare(message: bytes, prefix: bytes | None = None) -> bytes:
    """``PrepareRandomize`` (section 4.1). ``Deterministic`` variants take the message as it is."""
    return (secrets.token_bytes(PREFIX_BYTES) if prefix is None else prefix) + message


def blind(
    key: rsa.RSAPublicKey,
    message: bytes,
    *,
    salt: bytes | None = None,
    blinding: int | None = None,
) -> Blinded:
    """``Blind`` (section 4.2). ``salt`` and ``blinding`` are random unless given (test vectors).

    Raises ``TokenRejected`` (``MALFORMED``) when message or blinding has a factor of the modulus.
    """
    numbers = key.public_numbers()
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    encoded = int.from_bytes(encode_pss(message, bits=key.key_size - 1, salt=salt), "big")
    if math.gcd(encoded, numbers.n) != 1:
        raise _malformed("the message shares a factor with the modulus")
    # Below n and not zero; a value without inverse would factor the issuer's key.
    factor = secrets.randbelow(numbers.n - 1) + 1 if blinding is None else blinding
    try:
        inverse = pow(factor, -1, numbers.n)
    except ValueError:
        raise _malformed("the blinding has no inverse") from None
    value = encoded * pow(factor, numbers.e, numbers.n) % numbers.n
    return Blinded(message=value.to_bytes(_size(key), "big"), inverse=inverse)


def finalize(
    key: rsa.RSAPublicKey,
    message: bytes,
    blind_signature: bytes,
    inverse: int,
    *,
    salt_bytes: int = SALT_BYTES,
) -> bytes:
    """``Finalize`` (section 4.4): the signature, verified. Raises ``TokenRejected``."""
    if len(blind_signature) != _size(key):
        raise _malformed(f"blind signature: {len(blind_signature)} bytes, expected {_size(key)}")
    value = int.from_bytes(blind_signature, "big") * inverse % key.public_numbers().n
    signature = value.to_bytes(_size(key), "big")
    verify(key, message, signature, salt_bytes=salt_bytes)
    return signature


def verify(
    key: rsa.RSAPublicKey, message: bytes, signature: bytes, *, salt_bytes: int = SALT_BYTES
) -> None:
    """RSASSA-PSS (RFC 8017, section 8.1.2). Raises ``TokenRejected`` (``SIGNATURE``)."""
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), salt_bytes)
    try:
        key.verify(signature, message, scheme, hashes.SHA384())
    except InvalidSignature:
        raise TokenRejected(
            "the issuer's signature does not verify", reason=Rejection.SIGNATURE, hint=HINT
        ) from None


def encode_pss(message: bytes, *, bits: int, salt: bytes) -> bytes:
    """``EMSA-PSS-ENCODE`` (RFC 8017, section 9.1.1) into ``bits`` bits, big-endian."""
    size = -(-bits // 8)
    digest = hashlib.sha384(bytes(8) + hashlib.sha384(message).digest() + salt).digest()
    block = (b"\x01" + salt).rjust(size - HASH_BYTES - 1, b"\x00")
    mask = _mgf1(digest, len(block))
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=True))
    masked[0] &= 0xFF >> (8 * size - bits)
    return bytes(masked) + digest + b"\xbc"


def _mgf1(seed: bytes, size: int) -> bytes:
    blocks = range(-(-size // HASH_BYTES))
    stream = b"".join(hashlib.sha384(seed + i.to_bytes(4, "big")).digest() for i in blocks)
    return stream[:size]


def _size(key: rsa.RSAPublicKey) -> int:
    return (key.key_size + 7) // 8


def _malformed(message: str) -> TokenRejected:
    return TokenRejected(message, reason=Rejection.MALFORMED, hint=HINT)
