"""What a node says of itself, believed only after its bundle and its signature were verified."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from cloud_node.identity import signed_by_certificate
from lanai.errors import EvidenceRejected, Rejection
from protos.lanai.v1alpha import bundle_pb2
from trust.bundle import Checkpoint, NodeBundle
from trust.verification import NodeVerifier, VerifiedNode

__all__ = ["Announced", "AnnouncementVerifier", "Consistency"]

MAX_BYTES: Final = 64 * 1024
CLOCK_SKEW_S: Final = 60
_ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-f:]{2,39}\]):[0-9]{1,5}")

Consistency = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""Fetches the log's proof between two tree sizes (old, new)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A verified node and what it said of itself. Only ``AnnouncementVerifier`` builds it."""

    node: VerifiedNode
    bundle: bundle_pb2.NodeBundle
    address: str
    live_streams: int
    draining: bool
    issued_at: int
    """Unix seconds, by the node's clock."""


class AnnouncementVerifier:
    """Verifies announcements under one trust root; remembers bundles and the newest checkpoint.

    What the caller must still do: connect to ``address`` with the node's certificate as its only
    root, and drop the node at ``node.expires_at``.
    """

    def __init__(
        self,
        verifier: NodeVerifier,
        consistency: Consistency,
        *,
        max_age_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._consistency = consistency
        self._max_age_s = max_age_s
        self._clock = clock
        self._newest: Checkpoint | None = None
        self._verified: dict[bytes, VerifiedNode] = {}

    async def verify(self, node_id: bytes, data: bytes) -> Announced:
        """Verify what the store holds under ``node_id``. Raises a ``TrustError``.

        1. parse, within bounds
        2. it is the announcement of that node
        3. the bundle verifies, and its checkpoint extends the newest one seen
        4. the bundle's TLS key signed these very bytes
        5. it is fresh
        6. the address is one
        """
        # 1
        signed, said = _parse(data)
        bundle = NodeBundle.from_proto(said.bundle)
        # 2
        if bundle.node_id != node_id:
            raise _rejected("announced under another node's id", Rejection.KEY_BINDING)
        # 3
        node = await self._verify_bundle(bundle)
        # 4
        _check_signature(node, signed)
        # 5
        age = self._clock() - said.issued_at
        if not -CLOCK_SKEW_S <= age <= self._max_age_s:
            raise _rejected("an announcement of another time", Rejection.EXPIRED)
        # 6
        if _ADDRESS.fullmatch(said.address) is None:
            raise _rejected("no address", Rejection.MALFORMED)
        return Announced(
            node=node,
            bundle=said.bundle,
            address=said.address,
            live_streams=said.live_streams,
            draining=said.draining,
            issued_at=said.issued_at,
        )

    def forget(self, keep: Callable[[VerifiedNode], bool]) -> None:
        """Drop remembered bundles the caller has no use for."""
        self._verified = {key: node for key, node in self._verified.items() if keep(node)}

    async def _verify_bundle(self, bundle: NodeBundle) -> VerifiedNode:
        digest = bundle.digest()
        known = self._verified.get(digest)
        if known is not None and self._clock() < known.expires_at:
            return known
        sizes = self._verifier.consistency_needed(bundle, self._newest)
        proof = await self._consistency(*sizes) if sizes else ()
        node = self._verifier.verify(bundle, seen=self._newest, consistency=proof)
        if self._newest is None or node.checkpoint.size >= self._newest.size:
            self._newest = node.checkpoint
        self._verified[digest] = node
        return node


def _parse(data: bytes) -> tuple[bundle_pb2.SignedAnnouncement, bundle_pb2.Announcement]:
    if len(data) > MAX_BYTES:
        raise _rejected("an announcement too large", Rejection.TOO_LARGE)
    try:
        signed = bundle_pb2.SignedAnnouncement.FromString(data)
        return signed, bundle_pb2.Announcement.FromString(signed.announcement)
    except DecodeError:
        raise _rejected("no announcement", Rejection.MALFORMED) from None


def _check_signature(node: VerifiedNode, signed: bundle_pb2.SignedAnnouncement) -> None:
    if not signed_by_certificate(node.tls_certificate, signed.signature, signed.announcement):
        raise _rejected("not signed by the node's TLS key", Rejection.SIGNATURE)


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(message, reason=reason)
