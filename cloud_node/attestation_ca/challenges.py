"""Challenges that wait for their answer: a bounded number, for a short time, one try each."""

import hmac
import os
from dataclasses import dataclass, field
from typing import Final

from lanai.errors import CloudRefused, EvidenceRejected, RefusalCode, Rejection
from trust.attestation.tpm2.structures import PublicArea

__all__ = ["Challenges"]

ID_BYTES: Final = 16
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    secret: bytes = field(repr=False)
    key: PublicArea
    expires_at: float


class Challenges:
    """``limit`` open ones at most, each for ``lifetime_s`` seconds. For one thread or loop."""

    def __init__(self, *, limit: int, lifetime_s: float) -> None:
        self._limit = limit
        self._lifetime_s = lifetime_s
        self._open: dict[bytes, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, key: PublicArea, now: float) -> tuple[bytes, bytes]:
        """Id and secret of a new challenge for ``key``. Raises ``CloudRefused`` (busy)."""
        self._drop_expired(now)
        if len(self._open) >= self._limit:
            raise CloudRefused("open challenges", refusal=RefusalCode.BUSY)
        challenge, secret = os.urandom(ID_BYTES), os.urandom(SECRET_BYTES)
        self._open[challenge] = _Open(secret=secret, key=key, expires_at=now + self._lifetime_s)
        return challenge, secret

    def finish(self, challenge: bytes, secret: bytes, now: float) -> PublicArea:
        """The key whose challenge is answered by ``secret``; the challenge is gone either way.

        Raises ``EvidenceRejected`` (``challenge``; ``expired``).
        """
        found = self._open.pop(challenge, None)
        if found is None:
            raise _rejected("no such challenge, or answered before", Rejection.CHALLENGE)
        if now >= found.expires_at:
            raise _rejected("the challenge has expired", Rejection.EXPIRED)
        if not hmac.compare_digest(found.secret, secret):
            raise _rejected("the secret is another one", Rejection.CHALLENGE)
        return found.key

    def _drop_expired(self, now: float) -> None:
        for challenge in [name for name, item in self._open.items() if now >= item.expires_at]:
            del self._open[challenge]


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(f"credential activation: {message}", reason=reason)
