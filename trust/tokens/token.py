"""A token: the RFC 9578 bytes that are sent, and the holder key that never is."""

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanai.errors import Rejection, TokenRejected
from trust.envelope.encoding import fields
from trust.tokens.challenge import TOKEN_TYPE

__all__ = ["TOKEN_BYTES", "ParsedToken", "Token", "spend_message", "token_input"]

HASH_BYTES = 32
AUTHENTICATOR_BYTES = 256
INPUT_BYTES = 2 + 3 * HASH_BYTES
TOKEN_BYTES = INPUT_BYTES + AUTHENTICATOR_BYTES
LABEL_SPEND = b"lanai v1alpha spend"


def token_input(nonce: bytes, challenge_digest: bytes, key_id: bytes) -> bytes:
    """What the issuer signs blindly (RFC 9578, section 6.1)."""
    return TOKEN_TYPE.to_bytes(2, "big") + nonce + challenge_digest + key_id


def spend_message(envelope_digest: bytes) -> bytes:
    """What the holder signs to pay for one envelope."""
    return fields(LABEL_SPEND, envelope_digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedToken:
    """The parts of token bytes. Nothing is verified yet."""

    nonce: bytes
    challenge_digest: bytes
    key_id: bytes
    authenticator: bytes

    @classmethod
    def parse(cls, token: bytes) -> Self:
        """Raises ``TokenRejected`` (``MALFORMED``) for another size or token type."""
        if len(token) != TOKEN_BYTES or int.from_bytes(token[:2], "big") != TOKEN_TYPE:
            raise _malformed("not a blind RSA token")
        nonce, challenge_digest, key_id = (
            token[start : start + HASH_BYTES] for start in range(2, INPUT_BYTES, HASH_BYTES)
        )
        return cls(
            nonce=nonce,
            challenge_digest=challenge_digest,
            key_id=key_id,
            authenticator=token[INPUT_BYTES:],
        )

    def signed_input(self) -> bytes:
        """The bytes under the issuer's signature."""
        return token_input(self.nonce, self.challenge_digest, self.key_id)


class Token:
    """One unspent token with its holder key. Whoever has it can spend it; ``repr`` is empty.

    ``key_id`` names the issuer key (32 bytes), ``hash`` is the SHA-256 of ``bytes``.
    """

    __slots__ = ("_holder", "bytes", "hash", "holder_key", "key_id")

    def __init__(self, token: bytes, holder: Ed25519PrivateKey) -> None:
        """Raises ``TokenRejected``: ``MALFORMED``, or ``KEY_BINDING`` for another holder's key."""
        self._holder = holder
        self.bytes = token
        self.hash = hashlib.sha256(token).digest()
        self.holder_key = holder.public_key().public_bytes_raw()
        parsed = ParsedToken.parse(token)
        self.key_id = parsed.key_id
        if parsed.nonce != hashlib.sha256(self.holder_key).digest():
            raise TokenRejected(
                "the token belongs to another holder key",
                reason=Rejection.KEY_BINDING,
                hint="fetch new tokens",
            )

    def sign(self, envelope_digest: bytes) -> bytes:
        """The holder's Ed25519 signature that spends this token on that envelope (64 bytes)."""
        return self._holder.sign(spend_message(envelope_digest))

    def to_secret(self) -> bytes:
        """Holder key and token for the wallet file. Whoever reads it can spend it."""
        return self._holder.private_bytes_raw() + self.bytes

    @classmethod
    def from_secret(cls, secret: bytes) -> Self:
        """Read what ``to_secret`` wrote. Raises ``TokenRejected``."""
        if len(secret) != HASH_BYTES + TOKEN_BYTES:
            raise _malformed("not a wallet entry")
        holder = Ed25519PrivateKey.from_private_bytes(secret[:HASH_BYTES])
        return cls(secret[HASH_BYTES:], holder)

    def __repr__(self) -> str:
        return "Token(…)"


def _malformed(message: str) -> TokenRejected:
    return TokenRejected(message, reason=Rejection.MALFORMED, hint="fetch new tokens")
