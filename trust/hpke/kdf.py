"""HKDF (RFC 5869) and the labeled forms HPKE uses (RFC 9180, section 4)."""

import hmac
from dataclasses import dataclass

from lanai.errors import UsageError

__all__ = ["HKDF_SHA256", "HKDF_SHA512", "Hkdf"]

PREFIX = b"HPKE-v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hkdf:
    """One HKDF with the number HPKE gives it (RFC 9180, section 7.2)."""

    kdf_id: int
    hash_name: str
    hash_bytes: int

    def extract(self, salt: bytes, secret: bytes) -> bytes:
        """``Extract``: a pseudorandom key of ``hash_bytes``."""
        return hmac.digest(salt or bytes(self.hash_bytes), secret, self.hash_name)

    def expand(self, key: bytes, info: bytes, size: int) -> bytes:
        """``Expand`` to ``size`` bytes. Raises ``UsageError`` for more than 255 hashes."""
        if size > 255 * self.hash_bytes:
            raise UsageError(f"HKDF gives at most {255 * self.hash_bytes} bytes, not {size}")
        block = output = hmac.digest(key, info + b"\x01", self.hash_name)
        for number in range(2, -(-size // self.hash_bytes) + 1):
            block = hmac.digest(key, block + info + bytes([number]), self.hash_name)
            output += block
        return output[:size]

    def labeled_extract(self, suite_id: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
        """``LabeledExtract``."""
        return self.extract(salt, PREFIX + suite_id + label + secret)

    def labeled_expand(
        self, suite_id: bytes, key: bytes, label: bytes, info: bytes, size: int
    ) -> bytes:
        """``LabeledExpand``."""
        return self.expand(key, size.to_bytes(2, "big") + PREFIX + suite_id + label + info, size)


HKDF_SHA256 = Hkdf(kdf_id=1, hash_name="sha256", hash_bytes=32)
HKDF_SHA512 = Hkdf(kdf_id=3, hash_name="sha512", hash_bytes=64)
