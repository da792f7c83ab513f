"""The issuer: signs blinded messages. It checks accounts elsewhere, and never sees a token."""

from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lanai.errors import Rejection, TokenRejected
from trust.tokens.libcrypto import RawPrivateKey
from trust.tokens.public_key import KEY_BITS, key_id, pss_spki

__all__ = ["TokenIssuer"]


class TokenIssuer:
    """An RSA key used for tokens and nothing else. Safe to call from several threads."""

    __slots__ = ("_key", "_raw", "key_id", "spki")

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        """Raises ``TokenRejected`` (``MALFORMED``), or ``ConfigError`` without libcrypto."""
        if key.key_size != KEY_BITS:
            raise _malformed(f"issuer key of {key.key_size} bits, expected {KEY_BITS}")
        public = key.public_key()
        numbers = public.public_numbers()
        pkcs8 = _private_bytes(key, serialization.Encoding.DER)
        self._key = key
        self._raw = RawPrivateKey(pkcs8, modulus=numbers.n, exponent=numbers.e)
        self.spki = pss_spki(public)
        self.key_id = key_id(self.spki)

    @classmethod
    def generate(cls) -> Self:
        """A new key."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read what ``to_pem`` wrote. Raises ``TokenRejected`` (``MALFORMED``)."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _malformed("the issuer key cannot be read") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise _malformed("the issuer key is not RSA")
        return cls(key)

    def to_pem(self) -> bytes:
        """The private key, unencrypted PKCS#8. Keep it in a file of mode 0600."""
        return _private_bytes(self._key, serialization.Encoding.PEM)

    def accepts(self, blinded: bytes) -> bool:
        """Whether ``sign`` takes it: as long as the modulus, and smaller."""
        return self._raw.accepts(blinded)

    def sign(self, blinded: bytes) -> bytes:
        """``BlindSign`` (RFC 9474, section 4.3), checked before release (256 bytes).

        Raises ``TokenRejected`` (``MALFORMED``).
        """
        return self._raw.apply(blinded)

    def __repr__(self) -> str:
        return f"TokenIssuer({self.key_id.hex()[:16]})"


def _private_bytes(key: rsa.RSAPrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _malformed(message: str) -> TokenRejected:
    return TokenRejected(
        message, reason=Rejection.MALFORMED, hint="make a key with TokenIssuer.generate()"
    )
