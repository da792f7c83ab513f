"""The nodes this device has verified: fetched through the relay, judged by the trust root.

The relay and the gateway can hide nodes, never add one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from google.protobuf.message import DecodeError

from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.transport import Transport
from lanai.errors import CloudRefused, CloudUnavailable, Rejection, TrustError
from protos.lanai.v1alpha.bundle_pb2 import NodeBundle as BundleMessage
from protos.lanai.v1alpha.gateway_pb2 import (
    ConsistencyRequest,
    FetchRequest,
    FetchResponse,
    RosterRequest,
)
from trust.bundle import Checkpoint, NodeBundle
from trust.root import TrustRoot
from trust.verification import NodeVerifier, VerifiedNode

__all__ = ["Roster"]

MAX_BUNDLES = 256
MAX_HASHES = 64
MAX_AGE_S = 60.0
"""A roster older than this is fetched again before a request is sealed to its nodes."""


class Roster:
    """Fetches, verifies, remembers until expiry. One fetch at a time.

    ``clock`` is unix seconds, ``monotonic`` any steady clock in seconds.
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
        self._verifier = NodeVerifier(root, clock=clock)
        self._transport = transport
        self._checkpoints = checkpoints
        self._clock = clock
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._verified: dict[bytes, VerifiedNode] = {}  # by bundle digest, the last roster's only
        self._fetched_at: float | None = None
        self.rejections: Counter[Rejection] = Counter()
        """Bundles refused since the start, by reason."""
        self.refusal: TrustError | None = None
        """Why, when the last roster had bundles and none was accepted."""

    @property
    def nodes(self) -> tuple[VerifiedNode, ...]:
        """Verified nodes of the last roster whose keys have not expired."""
        now = self._clock()
        return tuple(node for node in self._verified.values() if node.expires_at > now)

    async def fresh(self) -> tuple[VerifiedNode, ...]:
        """At least one verified node, of a recent roster.

        Raises the ``TrustError`` of a roster without acceptable node, ``CloudUnavailable`` without
        any node or relay, ``StoreError`` when the checkpoint cannot be kept.
        """
        if not self.nodes or self._is_old():
            await self.refresh()
        if nodes := self.nodes:
            return nodes
        if self.refusal is not None:
            raise self.refusal
        raise CloudUnavailable("the cluster has no node", hint="`lanai cloud status` shows them")

    def forget(self) -> None:
        """Fetch again before the next use: a node of this roster was gone."""
        self._fetched_at = None

    async def refresh(self) -> None:
        """Fetch the roster and verify what is new in it. Raises ``CloudError``, ``StoreError``."""
        async with self._lock:
            request = FetchRequest(roster=RosterRequest())
            response = await self._fetch(request, "roster")
            await self._take(list(response.roster.bundles[:MAX_BUNDLES]))
            self._fetched_at = self._monotonic()

    async def _take(self, messages: list[BundleMessage]) -> None:
        now = self._clock()
        still = {key: node for key, node in self._verified.items() if node.expires_at > now}
        verified: dict[bytes, VerifiedNode] = {}
        proofs: dict[tuple[int, int], tuple[bytes, ...]] = {}
        refusal: TrustError | None = None
        for message in messages:
            try:
                bundle = NodeBundle.from_proto(message)
                digest = bundle.digest()
                verified[digest] = still.get(digest) or await self._verify(bundle, proofs)
            except TrustError as error:
                self.rejections[error.reason] += 1
                refusal = refusal or error
        self._verified = verified
        self.refusal = None if verified else refusal

    async def _verify(
        self, bundle: NodeBundle, proofs: dict[tuple[int, int], tuple[bytes, ...]]
    ) -> VerifiedNode:
        seen = await asyncio.to_thread(self._checkpoints.newest)
        sizes = self._verifier.consistency_needed(bundle, seen)
        if sizes is not None and sizes not in proofs:
            proofs[sizes] = await self._consistency(*sizes)
        consistency = () if sizes is None else proofs[sizes]
        node = self._verifier.verify(bundle, seen=seen, consistency=consistency)
        if _is_newer(node.checkpoint, seen):
            # Kept before the node is used: what was seen once must be continued for ever.
            await asyncio.to_thread(self._checkpoints.advance, node.checkpoint)
        return node

    async def _consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        if old == new:
            return ()
        request = FetchRequest(consistency=ConsistencyRequest(old_size=old, new_size=new))
        try:
            response = await self._fetch(request, "consistency")
        except CloudRefused:
            return ()  # no proof: the node is refused for it, others are not
        return tuple(response.consistency.hashes[:MAX_HASHES])

    async def _fetch(self, request: FetchRequest, kind: str) -> FetchResponse:
        payload = await self._transport.fetch(request.SerializeToString())
        try:
            response = FetchResponse.FromString(payload)
        except DecodeError:
            response = FetchResponse()
        if response.WhichOneof("kind") != kind:
            raise CloudUnavailable(
                "the relay's answer is not of this protocol",
                hint="bring device and cluster to the same release",
            )
        return response

    def _is_old(self) -> bool:
        return self._fetched_at is None or self._monotonic() - self._fetched_at > MAX_AGE_S


def _is_newer(checkpoint: Checkpoint, seen: Checkpoint | None) -> bool:
    return seen is None or checkpoint.size > seen.size
