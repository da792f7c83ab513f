"""What commands read through the relay, sealed to the gateway as a request is, without a token."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.keys import ClusterKeys
from device_agent.cloud.sealed import SealedTransport
from device_agent.cloud.transport import Transport
from lanai.errors import CloudRefused, CloudUnavailable, RefusalCode, TrustError
from protos.lanai.v1alpha.gateway_pb2 import (
    ConsistencyRequest,
    FetchRequest,
    FetchResponse,
    FileRequest,
    RosterRequest,
)
from trust.bundle import NodeBundle
from trust.log.merkle import MAX_PROOF
from trust.public_tree import MAX_RELAYED_BYTES
from trust.root import TrustRoot

__all__ = ["RelayView"]

T = TypeVar("T")
MAX_BUNDLES: Final = 256


class RelayView:
    """A blocking view of one cluster, for commands. Use it as a context manager.

    ``folder`` is where this device keeps checkpoints: what proves the gateway's key is kept there.
    ``transport`` is the relay's own unless a test brings one. Every method raises ``CloudError``
    and ``TrustError``.
    """

    def __init__(
        self, root: TrustRoot, folder: Path, *, transport: Transport | None = None
    ) -> None:
        from device_agent.cloud.transport_grpc import GrpcRelayTransport

        inner = GrpcRelayTransport(root.relay) if transport is None else transport
        keys = ClusterKeys(root, inner, CheckpointStore.of(root, folder))
        self._transport = SealedTransport(inner, keys)
        self._runner = asyncio.Runner()

    def file(self, path: str) -> bytes | None:
        """A public file (`trust.public_tree`); None when there is none."""
        answer = self._ask(FetchRequest(file=FileRequest(path=path)), "file").file
        if len(answer.content) > MAX_RELAYED_BYTES:
            raise _not_ours()
        return answer.content if answer.found else None

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The log's proof between two sizes, unverified; empty when it gives none."""
        asked = ConsistencyRequest(old_size=old, new_size=new)
        try:
            answer = self._ask(FetchRequest(consistency=asked), "consistency")
        except CloudRefused as error:
            if error.refusal is not RefusalCode.BAD_REQUEST:
                raise
            return ()
        return tuple(answer.consistency.hashes[: MAX_PROOF + 1])

    def bundles(self) -> list[NodeBundle]:
        """The nodes the gateway shows, by node id. Unverified."""
        answer = self._ask(FetchRequest(roster=RosterRequest()), "roster")
        found = []
        for message in answer.roster.bundles[:MAX_BUNDLES]:
            try:
                found.append(NodeBundle.from_proto(message))
            except TrustError:
                continue
        return sorted(found, key=lambda bundle: bundle.node_id)

    def __enter__(self) -> "RelayView":
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._transport.close())
        self._runner.close()

    def _ask(self, request: FetchRequest, kind: str) -> FetchResponse:
        payload = self._run(self._transport.fetch(request.SerializeToString()))
        try:
            answer = FetchResponse.FromString(payload)
        except DecodeError:
            raise _not_ours() from None
        if answer.WhichOneof("kind") != kind:
            raise _not_ours()
        return answer

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def _not_ours() -> CloudUnavailable:
    return CloudUnavailable(
        "the gateway's answer is not of this protocol",
        hint="bring device and cluster to the same release",
    )
