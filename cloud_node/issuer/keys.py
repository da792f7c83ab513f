"""The keys the issuer signs with: read from its ring, and again when an unknown one is named."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloud_node.keyring import KeyRing, RingKey
from lanai.errors import CloudRefused, ConfigError, RefusalCode, TrustError
from trust.keys import KeyRecord
from trust.tokens import TokenIssuer
from trust.witnessed import MAX_CLOCK_SKEW_S

__all__ = ["IssuerKeys"]

SLACK_S: Final = MAX_CLOCK_SKEW_S
"""A device's clock may be ahead of ours by as much when it begins to use a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signing:
    record: KeyRecord
    issuer: TokenIssuer


class IssuerKeys:
    """Finds the signing key a request names. Safe in threads; ``clock`` is unix seconds."""

    def __init__(self, ring: KeyRing, *, clock: Callable[[], float]) -> None:
        """Raises ``ConfigError`` for a ring that cannot be read or is empty."""
        self._ring = ring
        self._clock = clock
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()
        self._keys: dict[bytes, _Signing] = {}
        self._reload()
        if not self._keys:
            raise ConfigError("the issuer has no key", hint="`lanai cloud rotate-keys` makes one")

    def find(self, key_id: bytes) -> TokenIssuer:
        """The key with this ``token_key_id``.

        Raises ``CloudRefused``: ``bad_request`` for one that is not here or not valid yet,
        ``token_expired``.
        """
        with self._lock:
            if key_id not in self._keys:
                self._reload()
            found = self._keys.get(key_id)
        now = self._clock()
        if found is None or now + SLACK_S < found.record.not_before:
            raise CloudRefused("key", refusal=RefusalCode.BAD_REQUEST)
        if now >= found.record.expires_at:
            raise CloudRefused("key", refusal=RefusalCode.TOKEN_EXPIRED)
        return found.issuer

    def _reload(self) -> None:
        names = self._ring.names()
        if names == self._names:
            return
        keys = {key.record.key_id: key for key in self._ring.read()}
        self._keys = {
            key_id: self._keys.get(key_id) or _signing(key) for key_id, key in keys.items()
        }
        self._names = names


def _signing(key: RingKey) -> _Signing:
    try:
        issuer = TokenIssuer.from_pem(key.pem)
    except TrustError as error:
        raise ConfigError(f"an issuer key is damaged: {error.message}", hint=error.hint) from error
    if issuer.spki != key.record.key:
        raise ConfigError("an issuer key does not belong to its record", hint="rotate the keys")
    return _Signing(record=key.record, issuer=issuer)
