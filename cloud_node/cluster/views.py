"""What operator tools see of a running cluster, each through the same pinned channels as others."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from grpc import aio

from cloud_node.cluster.asking import ask
from cloud_node.identity import open_channel
from cloud_node.service import PinnedEndpoint
from lanai.errors import CloudUnavailable, TrustError
from protos.lanai.v1alpha import gateway_pb2, gateway_pb2_grpc, log_pb2, log_pb2_grpc
from trust.bundle import NodeBundle
from trust.log.merkle import leaf_hash
from trust.root import TrustRoot
from trust.verification import NodeVerifier, VerifiedNode

__all__ = [
    "channel",
    "listening",
    "log_note",
    "publish",
    "shown_keys",
    "verified_nodes",
    "wait_for_node",
]

TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.1
_STUBS: Final[dict[str, Any]] = {
    "relay": gateway_pb2_grpc.RelayStub,
    "gateway": gateway_pb2_grpc.GatewayStub,
}


@asynccontextmanager
async def channel(endpoint: PinnedEndpoint) -> AsyncIterator[aio.Channel]:
    """A channel for a few calls."""
    opened = open_channel(endpoint.address, endpoint.certificate.encode())
    try:
        yield opened
    finally:
        await opened.close(None)


async def listening(endpoint: PinnedEndpoint) -> None:
    """Return when a connection stands. Raises ``CloudUnavailable``."""
    async with channel(endpoint) as opened:
        try:
            await asyncio.wait_for(opened.channel_ready(), TIMEOUT_S)
        except TimeoutError:
            raise CloudUnavailable(f"nothing answers at {endpoint.address}") from None


async def publish(log: PinnedEndpoint, leaves: Iterable[bytes], credential: bytes) -> None:
    """Append ``leaves`` and see each under a cosigned checkpoint. One that is there stays.

    Raises ``CloudUnavailable`` when the log refuses or its witnesses did not cosign.
    """
    async with channel(log) as opened:
        stub = log_pb2_grpc.LogStub(opened)
        try:
            for leaf in leaves:
                await stub.Append(
                    log_pb2.AppendRequest(leaf=leaf, credential=credential), timeout=2 * TIMEOUT_S
                )
                await stub.Inclusion(
                    log_pb2.InclusionRequest(leaf_hash=leaf_hash(leaf)), timeout=TIMEOUT_S
                )
        except aio.AioRpcError as error:
            raise CloudUnavailable(
                f"a leaf could not be published ({error.details()})",
                hint="the logs of log and witness say why",
            ) from None


async def shown_keys(relay: PinnedEndpoint) -> frozenset[bytes]:
    """Key records that devices are shown, as leaves. Raises ``CloudUnavailable``."""
    async with channel(relay) as opened:
        stub = gateway_pb2_grpc.RelayStub(opened)
        try:
            answer = await stub.Keys(gateway_pb2.KeysRequest(), timeout=TIMEOUT_S)
        except aio.AioRpcError as error:
            raise CloudUnavailable(f"the relay does not answer ({error.details()})") from None
    return frozenset(key.record for key in answer.keys)


async def log_note(log: PinnedEndpoint) -> bytes:
    """The log's newest cosigned checkpoint. Raises ``CloudUnavailable``."""
    async with channel(log) as opened:
        stub = log_pb2_grpc.LogStub(opened)
        try:
            answer = await stub.Checkpoint(log_pb2.CheckpointRequest(), timeout=TIMEOUT_S)
        except aio.AioRpcError as error:
            raise CloudUnavailable(f"the log does not answer ({error.details()})") from None
    return answer.note


async def verified_nodes(
    role: str, entry: PinnedEndpoint, root: TrustRoot
) -> Sequence[VerifiedNode]:
    """Nodes of the roster that this program verifies itself; ``role`` is relay or gateway.

    Raises ``CloudUnavailable`` when it does not answer.
    """
    question = gateway_pb2.FetchRequest(roster=gateway_pb2.RosterRequest())
    async with channel(entry) as opened:
        try:
            answer = await ask(_STUBS[role](opened), root, question)
        except aio.AioRpcError as error:
            raise CloudUnavailable(f"the {role} does not answer ({error.details()})") from None
    return _verified(answer, root)


async def wait_for_node(relay: PinnedEndpoint, root: TrustRoot, *, timeout_s: float) -> None:
    """Return when a verified node shows. Raises ``CloudUnavailable`` when none does in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if await verified_nodes("relay", relay, root):
                return
        except CloudUnavailable:
            pass  # still connecting
        await asyncio.sleep(POLL_S)
    raise CloudUnavailable(
        "no verified node showed up", hint="the logs of node and gateway say why"
    )


def _verified(payload: bytes, root: TrustRoot) -> Sequence[VerifiedNode]:
    verifier, nodes = NodeVerifier(root), []
    for bundle in gateway_pb2.FetchResponse.FromString(payload).roster.bundles:
        try:
            nodes.append(verifier.verify(NodeBundle.from_proto(bundle)))
        except TrustError:
            continue
    return nodes
