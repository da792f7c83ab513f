"""Asking for tokens: blind, have signed, finalize."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanai.errors import Rejection, TokenRejected
from trust.tokens import blind_rsa
from trust.tokens.public_key import key_id, load_spki
from trust.tokens.token import Token, token_input

__all__ = ["MAX_BATCH", "PendingTokens", "begin"]

MAX_BATCH = 256


def begin(spki: bytes, challenge: bytes, count: int) -> "PendingTokens":
    """Start ``count`` tokens (1…256) for the issuer with this public key.

    Each has a fresh holder key and fresh blinding. Raises ``TokenRejected``.
    """
    if not 0 < count <= MAX_BATCH:
        raise TokenRejected(
            f"{count} tokens asked for, at most {MAX_BATCH} at once",
            reason=Rejection.TOO_LARGE,
            hint="lower token_batch",
        )
    key, issuer = load_spki(spki), key_id(spki)
    digest = hashlib.sha256(challenge).digest()
    return PendingTokens(
        key, issuer, tuple(_Pending.make(key, issuer, digest) for _ in range(count))
    )


class PendingTokens:
    """Tokens between the two halves. ``blinded`` goes to the issuer; the rest stays here."""

    __slots__ = ("_key", "_pending", "key_id")

    def __init__(
        self, key: rsa.RSAPublicKey, key_id: bytes, pending: "tuple[_Pending, ...]"
    ) -> None:
        self._key = key
        self._pending = pending
        self.key_id = key_id

    @property
    def blinded(self) -> tuple[bytes, ...]:
        """Blinded messages (256 bytes each) in the order the signatures must come back."""
        return tuple(pending.blinded.message for pending in self._pending)

    def finish(self, signatures: Sequence[bytes]) -> tuple[Token, ...]:
        """The tokens, each verified. One bad signature, and none is taken (``TokenRejected``)."""
        if len(signatures) != len(self._pending):
            raise TokenRejected(
                f"{len(signatures)} signatures for {len(self._pending)} tokens",
                reason=Rejection.MALFORMED,
                hint="fetch new tokens",
            )
        pairs = zip(self._pending, signatures, strict=True)
        return tuple(pending.finish(self._key, signature) for pending, signature in pairs)

    def __repr__(self) -> str:
        return f"PendingTokens({len(self._pending)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Pending:
    holder: Ed25519PrivateKey
    signed_input: bytes
    blinded: blind_rsa.Blinded

    @classmethod
    def make(cls, key: rsa.RSAPublicKey, issuer: bytes, challenge_digest: bytes) -> Self:
        holder = Ed25519PrivateKey.generate()
        nonce = hashlib.sha256(holder.public_key().public_bytes_raw()).digest()
        signed_input = token_input(nonce, challenge_digest, issuer)
        return cls(
            holder=holder, signed_input=signed_input, blinded=blind_rsa.blind(key, signed_input)
        )

    def finish(self, key: rsa.RSAPublicKey, blind_signature: bytes) -> Token:
        signature = blind_rsa.finalize(
            key, self.signed_input, blind_signature, self.blinded.inverse
        )
        return Token(self.signed_input + signature, self.holder)
