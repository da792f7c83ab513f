"""The issuer's public key in the form of RFC 9578, section 8.2.2: an RSASSA-PSS SPKI.

`cryptography` reads this form and writes the plain RSA one, so it is put together here.
"""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lanai.errors import Rejection, TokenRejected

__all__ = ["KEY_BITS", "key_id", "load_spki", "pss_spki"]

KEY_BITS = 2048
# AlgorithmIdentifier: id-RSASSA-PSS with SHA-384, MGF1-SHA-384, salt of 48 bytes.
ALGORITHM = bytes.fromhex(
    "303d06092a864886f70d01010a3030"
    "a00d300b0609608648016503040202"
    "a11a301806092a864886f70d010108300b0609608648016503040202"
    "a203020130"
)
SEQUENCE, BIT_STRING = 0x30, 0x03


def pss_spki(key: rsa.RSAPublicKey) -> bytes:
    """DER of the key under the RSASSA-PSS algorithm identifier."""
    bare = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    return _element(SEQUENCE, ALGORITHM + _element(BIT_STRING, b"\x00" + bare))


def key_id(spki: bytes) -> bytes:
    """``token_key_id``: SHA-256 of the DER (32 bytes)."""
    return hashlib.sha256(spki).digest()


def load_spki(spki: bytes) -> rsa.RSAPublicKey:
    """Read an issuer's key of exactly this form, else ``TokenRejected`` (``MALFORMED``)."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise _malformed() from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != KEY_BITS or pss_spki(key) != spki:
        raise _malformed()
    return key


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes(-(-size.bit_length() // 8), "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _malformed() -> TokenRejected:
    return TokenRejected(
        f"not an RSASSA-PSS public key of {KEY_BITS} bits (RFC 9578)",
        reason=Rejection.MALFORMED,
        hint="enrol again: the trust root names the issuer's key",
    )
