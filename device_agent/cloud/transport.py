"""The two seams to the network. ``transport_grpc`` implements them, `device_agent.testing` too.

Both raise errors of `lanai.errors` only: ``CloudUnavailable`` when the other side is not reached or
lost, ``CloudRefused`` and its kin for a refusal in the closed words. Content never appears in them.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from lanai.errors import CloudError, CloudRefused, DeadlineExceeded, QuotaExhausted, RefusalCode

__all__ = ["IssuerTransport", "Transport", "refused"]


class Transport(Protocol):
    """The way to the gateway, through the relay. Payloads are bytes to it."""

    async def connect(self) -> None:
        """Return once the relay is reached; sends nothing. Raises ``CloudUnavailable``."""

    def exchange(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Send ``frames``, yield the answer's. Closing the iterator cancels at once."""

    async def fetch(self, payload: bytes) -> bytes:
        """One question (``FetchRequest``), one answer (``FetchResponse``)."""

    async def keys(self) -> bytes:
        """The current keys of issuer and gateway (``KeysResponse``): public, not yet verified."""

    async def close(self) -> None:
        """Idempotent."""


class IssuerTransport(Protocol):
    """The way to the issuer: direct, since it must know the account and nothing else."""

    async def issue(
        self, account: str, credential: bytes, key_id: bytes, blinded: Sequence[bytes]
    ) -> tuple[tuple[bytes, ...], int]:
        """Blind signatures, and how many more tokens the account may have today."""

    async def close(self) -> None:
        """Idempotent."""


def refused(code: RefusalCode) -> CloudError:
    """The error for a refusal, with what a person can do."""
    match code:
        case RefusalCode.QUOTA_EXHAUSTED:
            return QuotaExhausted("the issuer gives no more tokens", hint="wait for a new quota")
        case RefusalCode.EXPIRED:
            return DeadlineExceeded(
                "the request expired on its way", hint="check both clocks, or allow more time"
            )
        case _:
            return CloudRefused(f"the cloud refused: {code}", refusal=code, hint=HINTS.get(code))


HINTS = {
    RefusalCode.BUSY: "ask again later",
    RefusalCode.DRAINING: "ask again; other nodes take over",
    RefusalCode.NO_NODE: "`lanai cloud status` shows the nodes",
    RefusalCode.CONTEXT_OVERFLOW: "shorten the conversation or lower max_tokens",
    RefusalCode.UNAUTHENTICATED: "enrol again",
    RefusalCode.TOO_LARGE: "shorten the conversation",
    RefusalCode.STORE_UNAVAILABLE: "`lanai cloud status` shows the store",
}
