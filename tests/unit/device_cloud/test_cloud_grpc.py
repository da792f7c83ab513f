"""The gRPC transports against a real server on loopback, with its pinned certificate."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio

from cloud_node.identity import TlsIdentity, server_credentials
from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport
from lanai.errors import (
    CloudRefused,
    CloudUnavailable,
    DeadlineExceeded,
    LanaiError,
    QuotaExhausted,
    RefusalCode,
)
from protos.lanai.v1alpha import gateway_pb2_grpc, issuer_pb2_grpc
from protos.lanai.v1alpha.gateway_pb2 import Opaque
from protos.lanai.v1alpha.issuer_pb2 import IssueResponse
from trust.root import Endpoint

WORDS = "foreign words of a peer"


class Party(gateway_pb2_grpc.RelayServicer, issuer_pb2_grpc.IssuerServicer):
    """Relay and issuer that do as told."""

    def __init__(self) -> None:
        self.abort: tuple[grpc.StatusCode, str] | None = None
        self.frames_before_abort = 0
        self.received: list[bytes] = []
        self.ended = asyncio.Event()
        self.hold = False
        self.asked = None

    async def Exchange(self, request_iterator, context):  # noqa: N802
        try:
            async for frame in request_iterator:
                self.received.append(frame.payload)
            for number in range(self.frames_before_abort):
                yield Opaque(payload=b"%d" % number)
            await self._abort(context)
            if self.hold:
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def Fetch(self, request, context):  # noqa: N802
        await self._abort(context)
        return Opaque(payload=request.payload[::-1])

    async def Issue(self, request, context):  # noqa: N802
        self.asked = request
        await self._abort(context)
        return IssueResponse(signatures=[item[::-1] for item in request.blinded], remaining=9)

    async def _abort(self, context) -> None:
        if self.abort is not None:
            await context.abort(*self.abort)


@pytest.fixture
def identity() -> TlsIdentity:
    return TlsIdentity.generate("relay")


@pytest.fixture
async def served(identity) -> AsyncIterator[tuple[Party, Endpoint]]:
    party, server = Party(), aio.server()
    gateway_pb2_grpc.add_RelayServicer_to_server(party, server)
    issuer_pb2_grpc.add_IssuerServicer_to_server(party, server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(identity))
    await server.start()
    certificate = identity.certificate_pem.decode("ascii")
    try:
        yield party, Endpoint(address=f"127.0.0.1:{port}", certificate=certificate)
    finally:
        await server.stop(None)


@pytest.fixture
def party(served) -> Party:
    return served[0]


@pytest.fixture
async def relay(served) -> AsyncIterator[GrpcRelayTransport]:
    transport = GrpcRelayTransport(served[1])
    yield transport
    await transport.close()
    await transport.close()


@pytest.fixture
async def issuer(served) -> AsyncIterator[GrpcIssuerTransport]:
    transport = GrpcIssuerTransport(served[1])
    yield transport
    await transport.close()


async def sent(*payloads: bytes) -> AsyncIterator[bytes]:
    for payload in payloads:
        yield payload


async def test_payloads_travel_both_ways(party, relay) -> None:
    """Frames arrive in order and unchanged; a question has its answer."""
    await relay.connect()
    party.frames_before_abort = 3
    came = [frame async for frame in relay.exchange(sent(b"open", b"body"))]
    assert came == [b"0", b"1", b"2"]
    assert party.received == [b"open", b"body"]
    assert await relay.fetch(b"abc") == b"cba"


async def test_tokens_are_asked_for(party, issuer) -> None:
    """The issuer is told account, credential, key and blinded messages, and answers in order."""
    signatures, left = await issuer.issue("me", b"secret", b"k" * 32, [b"12", b"34"])
    assert (signatures, left) == ((b"21", b"43"), 9)
    assert (party.asked.account, party.asked.credential) == ("me", b"secret")
    assert party.asked.token_key_id == b"k" * 32


async def test_another_certificate_is_not_talked_to(served) -> None:
    """Same address, same name, another key: not reached, and nothing is sent."""
    party, endpoint = served
    other = TlsIdentity.generate("relay").certificate_pem.decode("ascii")
    transport = GrpcRelayTransport(Endpoint(address=endpoint.address, certificate=other))
    try:
        with pytest.raises(CloudUnavailable):
            await transport.fetch(b"abc")
        with pytest.raises(CloudUnavailable):
            _ = [frame async for frame in transport.exchange(sent(b"open"))]
    finally:
        await transport.close()
    assert party.received == []


async def test_nobody_there(served) -> None:
    """A port without a server is an unavailable cloud, for each call."""
    _, endpoint = served
    gone = Endpoint(address="127.0.0.1:1", certificate=endpoint.certificate)
    relay, issuer = GrpcRelayTransport(gone), GrpcIssuerTransport(gone)
    try:
        with pytest.raises(CloudUnavailable) as caught:
            await relay.fetch(b"abc")
        assert caught.value.hint
        with pytest.raises(CloudUnavailable):
            await issuer.issue("me", b"", b"", [])
    finally:
        await relay.close()
        await issuer.close()


@pytest.mark.parametrize(
    ("status", "details", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota_exhausted", QuotaExhausted),
        (grpc.StatusCode.FAILED_PRECONDITION, "expired", DeadlineExceeded),
        (grpc.StatusCode.UNAVAILABLE, "no_node", CloudRefused),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, WORDS, CloudRefused),
        (grpc.StatusCode.DEADLINE_EXCEEDED, WORDS, DeadlineExceeded),
        (grpc.StatusCode.UNAVAILABLE, WORDS, CloudUnavailable),
        (grpc.StatusCode.UNKNOWN, WORDS, CloudUnavailable),
        (grpc.StatusCode.CANCELLED, WORDS, CloudUnavailable),
    ],
)
async def test_statuses_become_our_errors(party, relay, issuer, status, details, error) -> None:
    """Words of the closed list count; a peer's own words are dropped."""
    party.abort = (status, details)
    calls = (
        lambda: relay.fetch(b""),
        lambda: issuer.issue("", b"", b"", []),
        lambda: anext(relay.exchange(sent())),
    )
    for call in calls:
        with pytest.raises(LanaiError) as caught:
            await call()
        assert type(caught.value) is error
        assert WORDS not in str(caught.value) + repr(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("refusal", list(RefusalCode))
async def test_every_refusal_has_its_error(party, relay, refusal) -> None:
    """Each word of the closed list arrives as an error that carries or means it."""
    party.abort = (grpc.StatusCode.INTERNAL, refusal.value)
    with pytest.raises((CloudRefused, QuotaExhausted, DeadlineExceeded)) as caught:
        await relay.fetch(b"")
    assert getattr(caught.value, "refusal", refusal) is refusal


async def test_frames_before_a_break_are_given_out(party, relay) -> None:
    """What came before the status is not lost."""
    party.frames_before_abort, party.abort = 2, (grpc.StatusCode.UNAVAILABLE, "")
    frames = relay.exchange(sent(b"open"))
    assert [await anext(frames), await anext(frames)] == [b"0", b"1"]
    with pytest.raises(CloudUnavailable):
        await anext(frames)


async def test_closing_the_exchange_ends_the_call(party, relay) -> None:
    """The server's side is cancelled, not left to run."""
    party.frames_before_abort, party.hold = 1, True
    frames = relay.exchange(sent(b"open"))
    assert await anext(frames) == b"0"
    await frames.aclose()
    async with asyncio.timeout(60):
        await party.ended.wait()
