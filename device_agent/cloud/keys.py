"""The keys of issuer and gateway, as this device verified them: fetched in the clear, the same for
everybody, and believed because they are public.

The proof that they are of the history this device knows is asked for through the gateway's key
itself, before that key is trusted with anything: the question names sizes of public trees only.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.sealed import sealed_fetch
from device_agent.cloud.transport import Transport
from lanai.errors import CloudError, CloudUnavailable, TrustError
from protos.lanai.v1alpha.gateway_pb2 import (
    ConsistencyRequest,
    FetchRequest,
    FetchResponse,
    KeysResponse,
)
from trust.keys import KeyPurpose, KeyVerifier, LoggedKey, VerifiedKey
from trust.log.merkle import MAX_PROOF
from trust.root import TrustRoot

__all__ = ["ClusterKeys", "IssuerKeySource"]

MAX_RESPONSE_BYTES: Final = 512 * 1024
MAX_KEYS: Final = 16
MAX_AGE_S: Final = 600.0
"""Keys older than this are fetched again before they are used."""
MARGIN_S: Final = 30.0
"""A key is not used in the last moments of its window: a request takes time to arrive."""


class IssuerKeySource(Protocol):
    """Where verified issuer keys come from."""

    async def issuer_keys(self) -> tuple[VerifiedKey, ...]:
        """At least one that may be used now, the first to expire first. Raises ``LanaiError``."""


class ClusterKeys:
    """Fetches, verifies, remembers until expiry. One fetch at a time.

    ``transport`` is the unsealed one; ``clock`` is unix seconds, ``monotonic`` any steady clock.
    """

    def __init__(
        self,
        root: TrustRoot,
        transport: Transport,
        checkpoints: CheckpointStore,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verifier = KeyVerifier(root, clock=clock)
        self._transport = transport
        self._checkpoints = checkpoints
        self._clock = clock
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._verified: tuple[VerifiedKey, ...] = ()
        self._fetched_at: float | None = None
        self._refusal: TrustError | None = None

    async def gateway_key(self) -> bytes:
        """The newest key of the gateway (X-Wing). Raises ``CloudError``, ``TrustError``."""
        return (await self._usable("gateway"))[-1].key

    async def issuer_keys(self) -> tuple[VerifiedKey, ...]:
        """Keys whose tokens may be sent now, the first to expire first. Raises as `gateway_key`."""
        return await self._usable("issuer")

    def forget(self) -> None:
        """Fetch again before the next use."""
        self._fetched_at = None

    async def _usable(self, purpose: KeyPurpose) -> tuple[VerifiedKey, ...]:
        async with self._lock:
            if self._is_old() or not self._current(purpose):
                await self._refresh()
        if found := self._current(purpose):
            return found
        if self._refusal is not None:
            raise self._refusal
        raise CloudUnavailable(
            f"the cluster shows no key of its {purpose}", hint="`lanai cloud rotate-keys`"
        )

    def _current(self, purpose: KeyPurpose) -> tuple[VerifiedKey, ...]:
        until = self._clock() + MARGIN_S
        found = [k for k in self._verified if k.purpose == purpose and k.expires_at > until]
        return tuple(sorted(found, key=lambda key: key.expires_at))

    def _is_old(self) -> bool:
        return self._fetched_at is None or self._monotonic() - self._fetched_at > MAX_AGE_S

    async def _refresh(self) -> None:
        """Fetch all keys and verify each; one that is refused does not spoil the others."""
        verified, refusal = [], None
        keys = _parsed(await self._transport.keys())
        for logged in keys:
            try:
                verified.append(await self._verify(logged, keys))
            except TrustError as error:
                refusal = refusal or error
        self._verified, self._refusal = tuple(verified), refusal
        self._fetched_at = self._monotonic()

    async def _verify(self, logged: LoggedKey, keys: list[LoggedKey]) -> VerifiedKey:
        """Verify, and store a newer checkpoint before the key is used."""
        seen = await asyncio.to_thread(self._checkpoints.newest)
        sizes = self._verifier.consistency_needed(logged, seen)
        proof = () if sizes is None else await self._consistency(*sizes, keys)
        key = self._verifier.verify(
            logged, purpose=logged.record.purpose, seen=seen, consistency=proof
        )
        if seen is None or key.checkpoint.size > seen.size:
            await asyncio.to_thread(
                self._checkpoints.advance, key.checkpoint, note=key.checkpoint_note
            )
        return key

    async def _consistency(self, old: int, new: int, keys: list[LoggedKey]) -> tuple[bytes, ...]:
        """The log's proof, asked for through a gateway key of which everything else is proved.

        Empty when nobody gives one: the key is refused for it.
        """
        asked = FetchRequest(consistency=ConsistencyRequest(old_size=old, new_size=new))
        for logged in keys:
            try:
                proved = self._verifier.prove(logged, purpose="gateway")
                answer = await sealed_fetch(self._transport, proved.key, asked.SerializeToString())
                hashes = FetchResponse.FromString(answer).consistency.hashes
            except (TrustError, CloudError, DecodeError):
                continue
            if len(hashes) <= MAX_PROOF:
                return tuple(hashes)
        return ()


def _parsed(data: bytes) -> list[LoggedKey]:
    """The keys that are of our form. Raises ``CloudUnavailable`` for another message."""
    try:
        if len(data) > MAX_RESPONSE_BYTES:
            raise _not_ours()
        messages = KeysResponse.FromString(data).keys[:MAX_KEYS]
    except DecodeError:
        raise _not_ours() from None
    found = []
    for message in messages:
        try:
            found.append(LoggedKey.from_proto(message))
        except TrustError:
            continue
    return found


def _not_ours() -> CloudUnavailable:
    return CloudUnavailable(
        "the relay's keys are not of this protocol",
        hint="bring device and cluster to the same release",
    )
