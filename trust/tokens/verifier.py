"""Checking a token where it is spent."""

import hashlib

from cryptography.hazmat.primitives import constant_time
from nacl.bindings import crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import BadSignatureError

from lanai.errors import Rejection, TokenRejected
from trust.tokens import blind_rsa
from trust.tokens.public_key import key_id, load_spki
from trust.tokens.token import ParsedToken, spend_message

__all__ = ["TokenVerifier", "is_signed_by"]

HINT = "fetch new tokens"
SIGNATURE_BYTES = 64


class TokenVerifier:
    """Verifies spends for one issuer key and one challenge. Holds no secret."""

    __slots__ = ("_challenge_digest", "_key", "_key_id")

    def __init__(self, spki: bytes, challenge: bytes) -> None:
        """Raises ``TokenRejected`` (``MALFORMED``) for a key of another form."""
        self._key = load_spki(spki)
        self._key_id = key_id(spki)
        self._challenge_digest = hashlib.sha256(challenge).digest()

    def verify(
        self, token: bytes, *, holder_key: bytes, holder_signature: bytes, envelope_digest: bytes
    ) -> bytes:
        """SHA-256 of a good token (32 bytes), else ``TokenRejected``.

        The caller still compares it with the envelope's token hash, and spends it in the store.

        1. It is a token of our type.
        2. It answers our challenge.
        3. It names our issuer's key.
        4. Its nonce is the hash of the holder's key.
        5. The holder signed this envelope.
        6. The issuer signed the token.
        """
        # 1.
        parsed = ParsedToken.parse(token)
        # 2.
        _require_equal(parsed.challenge_digest, self._challenge_digest, Rejection.CHALLENGE)
        # 3.
        _require_equal(parsed.key_id, self._key_id, Rejection.UNKNOWN_KEY)
        # 4.
        _require_equal(parsed.nonce, hashlib.sha256(holder_key).digest(), Rejection.KEY_BINDING)
        # 5.
        _require_holder(holder_key, holder_signature, spend_message(envelope_digest))
        # 6.
        blind_rsa.verify(self._key, parsed.signed_input(), parsed.authenticator)
        return hashlib.sha256(token).digest()

    def __repr__(self) -> str:
        return f"TokenVerifier({self._key_id.hex()[:16]})"


def _require_equal(found: bytes, expected: bytes, reason: Rejection) -> None:
    if not constant_time.bytes_eq(found, expected):
        raise TokenRejected("the token is not for this use", reason=reason, hint=HINT)


def _require_holder(holder_key: bytes, signature: bytes, message: bytes) -> None:
    if not is_signed_by(holder_key, signature, message):
        raise TokenRejected(
            "the token's holder did not sign this envelope",
            reason=Rejection.SIGNATURE,
            hint=HINT,
        )


def is_signed_by(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether an Ed25519 signature stands (RFC 8032).

    By libsodium: half the time of OpenSSL's, and the gateway does it for each request.
    """
    # The binding does not look at the key's length and would read past a short one.
    if len(public_key) != crypto_sign_PUBLICKEYBYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True
