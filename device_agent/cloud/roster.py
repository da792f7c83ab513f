"""The nodes this device has verified: fetched through the relay, judged by the trust root.

The relay and the gateway can hide nodes, never add one, and never show one twice. While requests
are made, the roster is fetched again before it is old, so that none of them waits for it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from google.protobuf.message import DecodeError

from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.transport import Transport
from lanai.errors import CloudRefused, CloudUnavailable, LanaiError, Rejection, TrustError
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
PREFETCH_S = 30.0
"""Time between two fetches while requests are made."""
IDLE_S = 300.0
"""Without a request for this long, nothing more is fetched: an idle device is a silent one."""


class Roster:
    """Fetches, verifies, remembers until expiry. One fetch at a time.

    ``clock`` is unix seconds, ``monotonic`` any steady clock in seconds, ``sleep`` its sleep.
    """

    def __init__(
        self,
        root: TrustRoot,
        transport: Transport,
        checkpoints: CheckpointStore,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._verifier = NodeVerifier(root, clock=clock)
        self._transport = transport
        self._checkpoints = checkpoints
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._fetches = 0
        self._used_at = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._verified: dict[bytes, VerifiedNode] = {}  # by bundle digest, the last roster's only
        self._fetched_at: float | None = None
        self.rejections: Counter[Rejection] = Counter()
        """Bundles refused since the start, by reason."""
        self.refusal: TrustError | None = None
        """Why, when the last roster had bundles and none was accepted."""

    @property
    def nodes(self) -> tuple[VerifiedNode, ...]:
        """Verified nodes of the last roster whose keys have not expired, each once.

        Of several bundles for one key the one under the newest checkpoint counts: a node shown
        often must not be drawn more often.
        """
        now, nodes = self._clock(), dict[bytes, VerifiedNode]()
        for node in sorted(self._verified.values(), key=lambda node: node.checkpoint.size):
            if node.expires_at > now:
                nodes[node.node_id] = node
        return tuple(nodes.values())

    async def fresh(self) -> tuple[VerifiedNode, ...]:
        """At least one verified node, of a recent roster.

        Raises the ``TrustError`` of a roster without acceptable node, ``CloudUnavailable`` without
        any node or relay, ``StoreError`` when the checkpoint cannot be kept.
        """
        self._used_at = self._monotonic()
        if not self.nodes or self._is_old():
            await self._renew()
        self._keep()
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
            await self._load()

    async def close(self) -> None:
        """Fetch nothing more. Idempotent."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    async def _renew(self) -> None:
        """As `refresh`, unless somebody else did it while we waited for our turn."""
        fetches = self._fetches
        async with self._lock:
            if self._fetches == fetches:
                await self._load()

    def _keep(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep_fresh())

    async def _keep_fresh(self) -> None:
        """Fetch every `PREFETCH_S` while in use. A failure is the next request's to report."""
        while True:
            await self._sleep(PREFETCH_S)
            if self._monotonic() - self._used_at > IDLE_S:
                return
            with suppress(LanaiError):
                await self.refresh()

    async def _load(self) -> None:
        request = FetchRequest(roster=RosterRequest())
        response = await self._fetch(request, "roster")
        await self._take(list(response.roster.bundles[:MAX_BUNDLES]))
        self._fetched_at = self._monotonic()
        self._fetches += 1

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
            await asyncio.to_thread(
                self._checkpoints.advance, node.checkpoint, note=node.checkpoint_note
            )
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
