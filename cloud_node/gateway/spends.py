"""Tokens as the gateway judges them: of an issuer key that is logged and has not expired."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha.gateway_pb2 import Spend
from trust.envelope import EnvelopeHeader
from trust.keys import KeyPurpose, VerifiedKey
from trust.tokens import TokenVerifier
from trust.tokens.token import ParsedToken

__all__ = ["GoodToken", "KeyView", "SpendVerifier"]

REMEMBERED_S: Final = 3600
"""A spent token is remembered for as long after its key's end: clocks of other gateways differ."""


class KeyView(Protocol):
    """What is known of logged keys (`LoggedKeys`)."""

    def current(self, purpose: KeyPurpose) -> Mapping[bytes, VerifiedKey]:
        """Verified keys by their id, those whose window covers now."""

    def has_expired(self, key_id: bytes) -> bool:
        """Whether this was a logged key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodToken:
    """A genuine token, still to be spent: ``hash`` marks it, for at least ``ttl_s`` seconds."""

    hash: bytes
    ttl_s: int


class SpendVerifier:
    """Verifies what pays for one envelope. ``clock`` is unix seconds."""

    def __init__(
        self, keys: KeyView, challenge: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._challenge = challenge
        self._clock = clock
        self._verifiers: dict[bytes, TokenVerifier] = {}

    def verify(self, spend: Spend, header: EnvelopeHeader) -> GoodToken:
        """The token, when it may be spent on this envelope.

        1. its issuer key is logged, and its window covers now
        2. the token is genuine, and its holder signed this envelope
        3. it is the token the envelope names

        Raises ``CloudRefused`` (``token_expired``, ``token_invalid``), ``TokenRejected``.
        """
        # 1
        key = self._key(ParsedToken.parse(spend.token).key_id)
        # 2
        token_hash = self._verifier(key).verify(
            spend.token,
            holder_key=spend.holder_key,
            holder_signature=spend.holder_signature,
            envelope_digest=header.digest(),
        )
        # 3
        if token_hash != header.token_hash:
            raise CloudRefused("another token", refusal=RefusalCode.TOKEN_INVALID)
        left_s = int(key.expires_at - self._clock()) + 1
        return GoodToken(hash=token_hash, ttl_s=left_s + REMEMBERED_S)

    def _key(self, key_id: bytes) -> VerifiedKey:
        if (key := self._keys.current("issuer").get(key_id)) is not None:
            return key
        if self._keys.has_expired(key_id):
            raise CloudRefused("issuer key", refusal=RefusalCode.TOKEN_EXPIRED)
        raise CloudRefused("issuer key", refusal=RefusalCode.TOKEN_INVALID)

    def _verifier(self, key: VerifiedKey) -> TokenVerifier:
        if key.key_id not in self._verifiers:
            current = self._keys.current("issuer")
            self._verifiers = {k: v for k, v in self._verifiers.items() if k in current}
            self._verifiers[key.key_id] = TokenVerifier(key.key, self._challenge)
        return self._verifiers[key.key_id]
