"""Keys of a response, from the secret its request exports (RFC 9458, section 4.4)."""

from dataclasses import dataclass

from lanai.errors import EnvelopeRejected, Rejection
from trust.hpke import Opener, Sealer
from trust.hpke.aead import Cipher

__all__ = ["ResponseKeys", "response_nonce_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ResponseKeys:
    """Cipher and base nonce of one response."""

    cipher: Cipher
    base_nonce: int
    nonce_bytes: int

    @classmethod
    def derive(
        cls, context: Sealer | Opener, *, label: bytes, response_nonce: bytes
    ) -> "ResponseKeys":
        """Both sides of a request come to the same. Raises ``EnvelopeRejected``."""
        kdf, aead = context.suite.kdf, context.suite.aead
        if aead.cipher is None or len(response_nonce) != aead.entropy_bytes:
            raise EnvelopeRejected(
                f"response nonce: {len(response_nonce)} bytes, expected {aead.entropy_bytes}",
                reason=Rejection.MALFORMED,
            )
        secret = context.export(label, aead.entropy_bytes)
        key = kdf.extract(context.enc + response_nonce, secret)
        return cls(
            cipher=aead.cipher(kdf.expand(key, b"key", aead.key_bytes)),
            base_nonce=int.from_bytes(kdf.expand(key, b"nonce", aead.nonce_bytes), "big"),
            nonce_bytes=aead.nonce_bytes,
        )

    def nonce(self, counter: int) -> bytes:
        """Nonce of chunk ``counter``, from 0."""
        return (self.base_nonce ^ counter).to_bytes(self.nonce_bytes, "big")


def response_nonce_bytes(context: Sealer | Opener) -> int:
    """Length of the nonce a response begins with."""
    return context.suite.aead.entropy_bytes
