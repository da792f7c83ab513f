"""A small real world for the services: real keys, real evidence, real TLS, a node made for tests.

Only the node's inside is a stand-in: it opens and answers envelopes for real, and answers what the
test tells it to.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.events import Component, EventLog
from cloud_node.gateway.announcements import AnnouncementVerifier
from cloud_node.gateway.keys import LoggedKeys
from cloud_node.gateway.roster import Roster
from cloud_node.gateway.service import GatewayService, Limits
from cloud_node.gateway.spends import SpendVerifier
from cloud_node.identity import (
    SERVER_OPTIONS,
    TlsIdentity,
    certificate_pem,
    open_channel,
    server_credentials,
)
from cloud_node.refusals import refuse
from cloud_node.relay import RelayConfig, RelayService
from cloud_node.store import MemoryStore
from cloud_node.testing.cloud import NoFiles
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import (
    bundle_pb2,
    gateway_pb2,
    gateway_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
)
from trust.attestation import (
    One,
    Release,
    UnsafeSoftwareAttester,
    UnsafeSoftwarePolicy,
    report_data,
)
from trust.bundle import NodeBundle
from trust.envelope import EnvelopeHeader, NodeKey, SealedChunk, open_request, seal_request
from trust.keys import KeyRecord, KeyVerifier
from trust.log.merkle import leaf_hash
from trust.log.notes import NoteSigner
from trust.log.transparency_log import TransparencyLog
from trust.ohttp import (
    EXCHANGE,
    FETCH,
    GatewayKey,
    GatewayKeys,
    RequestSealer,
    ResponseOpener,
    configuration_of,
    split_message,
)
from trust.root import Endpoint, TrustRoot
from trust.tokens import TokenIssuer, begin, token_challenge
from trust.verification import NodeVerifier

RELEASE = Release(
    software="1" * 64, weights="2" * 64, configuration="3" * 64, model="tiny", context_tokens=64
)
CHALLENGE = token_challenge("tests")


class World:
    """Log, witness, issuer and software keys, and the trust root that names them."""

    def __init__(self, folder: Path, issuer: TokenIssuer) -> None:
        self.issuer = issuer
        self.software = Ed25519PrivateKey.generate()
        self.log_signer = NoteSigner("tests-log", Ed25519PrivateKey.generate())
        self.witness = NoteSigner.cosigner("tests-witness", Ed25519PrivateKey.generate())
        self.log = TransparencyLog.create("tests-log", self.log_signer, folder / "log")
        self.publish(RELEASE.canonical())
        self.gateway_key = GatewayKey.generate()
        self.publish(self.key_record("issuer", issuer.spki).canonical())
        self.publish(self.key_record("gateway", self.gateway_key.public_key).canonical())
        endpoint = Endpoint(
            address="127.0.0.1:1",
            certificate=TlsIdentity.generate("any").certificate_pem.decode(),
        )
        self.root = TrustRoot(
            profile="development",
            relay=endpoint,
            issuer=endpoint,
            token_challenge=CHALLENGE.hex(),
            log_origin="tests-log",
            log_key=self.log_signer.vkey,
            witnesses=(self.witness.vkey,),
            quorum=1,
            checkpoint_max_age_s=3600,
            node_max_lifetime_s=86400,
            key_max_lifetime_s=86400,
            evidence=One(
                UnsafeSoftwarePolicy((self.software.public_key().public_bytes_raw().hex(),))
            ),
        )

    def publish(self, leaf: bytes) -> None:
        """Append and cosign."""
        self.log.append(leaf)
        note = self.log.checkpoint()
        text = note.decode().rpartition("\n\n")[0] + "\n"
        line = self.witness.line(text, now=int(time.time()))
        self.log.publish(note + (line if isinstance(line, bytes) else line.encode()))

    @staticmethod
    def key_record(purpose, key: bytes) -> KeyRecord:
        now = int(time.time())
        return KeyRecord(purpose=purpose, key=key, not_before=now, expires_at=now + 3600)

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        return self.log.consistency(old, new)

    async def inclusion(self, hash_of_leaf: bytes):
        return self.log.inclusion(hash_of_leaf)

    async def entries(self, start: int, count: int) -> Sequence[bytes]:
        return self.log.entries(start, count)

    def token(self):
        pending = begin(self.issuer.spki, CHALLENGE, 1)
        return pending.finish([self.issuer.sign(item) for item in pending.blinded])[0]


@dataclass
class FakeNode(node_pb2_grpc.NodeServicer):
    """A node with real keys and evidence. ``pieces`` are the answer; ``hold`` never ends it."""

    world: World
    pieces: tuple[bytes, ...] = (b"one", b"two")
    refuse_with: RefusalCode | None = None
    hold: bool = False
    bodies: list[bytes] = field(default_factory=list)
    metadata: list[tuple[str, str]] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: int = 0
    lifetime_s: int = 3600

    def __post_init__(self) -> None:
        self.key = NodeKey.generate()
        self.identity = TlsIdentity.generate("node")
        self.not_before = int(time.time()) - 10
        self.expires_at = self.not_before + self.lifetime_s
        self.server: grpc.aio.Server | None = None
        self.address = "127.0.0.1:9"

    async def start(self) -> "FakeNode":
        self.server = grpc.aio.server(options=SERVER_OPTIONS)
        node_pb2_grpc.add_NodeServicer_to_server(self, self.server)
        port = self.server.add_secure_port("127.0.0.1:0", server_credentials(self.identity))
        await self.server.start()
        self.address = f"127.0.0.1:{port}"
        return self

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0)

    def bundle(self, signer: Ed25519PrivateKey | None = None) -> NodeBundle:
        attester = UnsafeSoftwareAttester(signer or self.world.software, RELEASE)
        bound = report_data(
            self.key.public_key, self.identity.spki_sha256, self.not_before, self.expires_at
        )
        return NodeBundle(
            hpke_public_key=self.key.public_key,
            tls_certificate=self.identity.certificate_der,
            not_before=self.not_before,
            expires_at=self.expires_at,
            evidence=(attester.attest(bound),),
            release=RELEASE,
            proof=self.world.log.inclusion(leaf_hash(RELEASE.canonical())),
        )

    def announcement(self, *, signed_by: TlsIdentity | None = None, bundle=None, **fields) -> bytes:
        said = {"issued_at": int(time.time()), "address": self.address} | fields
        data = bundle_pb2.Announcement(
            bundle=(bundle or self.bundle()).to_proto(), **said
        ).SerializeToString()
        signature = (signed_by or self.identity).sign(data)
        return bundle_pb2.SignedAnnouncement(
            announcement=data, signature=signature
        ).SerializeToString()

    async def Infer(self, request_iterator, context):  # noqa: N802
        self.attempts += 1
        self.metadata.extend(context.invocation_metadata())
        frames = aiter(request_iterator)
        header = EnvelopeHeader.from_proto((await anext(frames)).header)
        if self.refuse_with is not None:
            async for _ in frames:  # a refusal sent while the peer writes may be lost
                pass
            await refuse(context, self.refuse_with)
        request = open_request(
            header, self.key, tls_spki_sha256=self.identity.spki_sha256, now=time.time()
        )
        chunks = [SealedChunk.from_proto(frame.chunk) async for frame in frames]
        self.bodies.append(request.body(chunks))
        answer = request.answer()
        yield node_pb2.InferResponse(server_nonce=answer.server_nonce)
        for index, piece in enumerate(self.pieces):
            last = index == len(self.pieces) - 1 and not self.hold
            for chunk in answer.seal(piece, last=last):
                yield node_pb2.InferResponse(chunk=chunk.to_proto())
        try:
            if self.hold:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class WatchedGateway(GatewayService):
    """The service, with a note of what came beside the payloads."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[bytes, dict, str]] = []

    async def Fetch(self, request, context):  # noqa: N802
        self._note(request, context)
        return await super().Fetch(request, context)

    async def Exchange(self, request_iterator, context):  # noqa: N802
        async def noted():
            async for frame in request_iterator:
                self._note(frame, context)
                yield frame

        async for frame in super().Exchange(noted(), context):
            yield frame

    def _note(self, frame, context) -> None:
        metadata = dict(context.invocation_metadata())
        self.seen.append((frame.SerializeToString(), metadata, context.peer()))


class Serving:
    """The gateway under test behind the relay under test, in this process, over real TLS."""

    def __init__(self, world: World, **limits) -> None:
        self.world = world
        self.store = MemoryStore()
        self.said = io.StringIO()
        log = EventLog(Component.GATEWAY, stream=self.said)
        self.log = log
        self.verifier = AnnouncementVerifier(
            NodeVerifier(world.root), world.consistency, max_age_s=60
        )
        self.roster = Roster(self.store, self.verifier, self._connect, log)
        self.keys = LoggedKeys(world, KeyVerifier(world.root), log)
        self.service = WatchedGateway(
            self.roster,
            self.keys,
            SpendVerifier(self.keys, CHALLENGE),
            self.store,
            world.consistency,
            NoFiles(),
            log,
            opening=GatewayKeys([world.gateway_key]),
            limits=Limits(**limits),
        )
        self.closing: list[Callable] = []

    @staticmethod
    def _connect(address: str, certificate: bytes):
        return open_channel(address, certificate_pem(certificate))

    async def start(self, **relay_limits) -> "Serving":
        await self.keys.refresh()
        gateway, self.gateway_identity = await self._serve(
            lambda s: gateway_pb2_grpc.add_GatewayServicer_to_server(self.service, s), "gateway"
        )
        channel = open_channel(gateway, self.gateway_identity.certificate_pem)
        self.closing.append(lambda: channel.close(None))
        config = RelayConfig.model_validate(
            {
                "listen": {"identity": Path("unused")},
                "gateway": {
                    "address": gateway,
                    "certificate": self.gateway_identity.certificate_pem.decode(),
                },
                **relay_limits,
            }
        )
        relay_service = RelayService(gateway_pb2_grpc.GatewayStub(channel), config, self.log)
        relay, identity = await self._serve(
            lambda s: gateway_pb2_grpc.add_RelayServicer_to_server(relay_service, s), "relay"
        )
        self.relay_channel = open_channel(relay, identity.certificate_pem)
        self.closing.append(lambda: self.relay_channel.close(None))
        self.relay = gateway_pb2_grpc.RelayStub(self.relay_channel)
        return self

    async def _serve(self, register, name: str):
        identity = TlsIdentity.generate(name)
        server = grpc.aio.server(options=SERVER_OPTIONS)
        register(server)
        port = server.add_secure_port("127.0.0.1:0", server_credentials(identity))
        await server.start()
        self.closing.append(lambda: server.stop(0))
        return f"127.0.0.1:{port}", identity

    async def announce(self, *nodes: FakeNode, **fields) -> None:
        for node in nodes:
            await self.store.announce(node.key.node_id, node.announcement(**fields), ttl_s=60)
        await self.roster.refresh()

    async def close(self) -> None:
        for close in reversed(self.closing):
            await close()
        await self.roster.close()


class Device:
    """Seals and spends as a device does."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.world = serving.world

    async def seal(self, body: bytes, nodes: Sequence[FakeNode], *, token=None, expires_in=60):
        verifier = NodeVerifier(self.world.root)
        self.token = token or self.world.token()
        return seal_request(
            body,
            [verifier.verify(node.bundle()) for node in nodes],
            token_hash=self.token.hash,
            policy_digest=self.world.root.policy_digest,
            expires_at=int(time.time()) + expires_in,
        )

    def frames(self, sealed, **spend) -> list[gateway_pb2.Opaque]:
        said = {
            "token": self.token.bytes,
            "holder_key": self.token.holder_key,
            "holder_signature": self.token.sign(sealed.header.digest()),
        } | spend
        opened = gateway_pb2.Open(spend=gateway_pb2.Spend(**said), header=sealed.header.to_proto())
        frames = [gateway_pb2.GatewayFrame(open=opened)]
        frames += [gateway_pb2.GatewayFrame(chunk=c.to_proto()) for c in sealed.chunks]
        return [gateway_pb2.Opaque(payload=f.SerializeToString()) for f in frames]

    def sealed(self, frames) -> tuple[list[gateway_pb2.Opaque], ResponseOpener]:
        """``frames`` as the relay gets them, and what opens the answer."""
        key = configuration_of(self.world.gateway_key.public_key)
        sealer = RequestSealer(key, media=EXCHANGE)
        last = len(frames) - 1
        pieces = [sealer.seal(f.payload, final=i == last) for i, f in enumerate(frames)]
        return [gateway_pb2.Opaque(payload=piece) for piece in pieces], sealer.response()

    async def exchange(self, frames, **call) -> AsyncIterator[node_pb2.InferResponse]:
        """Opened answer frames. A refusal under the seal is a ``CloudRefused``."""
        pieces, opener = self.sealed(frames)
        async for payload in self.carried(pieces, **call):
            data = opener.open(payload)
            if not opener.ended:
                yield node_pb2.InferResponse.FromString(data)
            elif data:
                raise CloudRefused("sealed", refusal=RefusalCode(data.decode()))

    async def carried(self, pieces, **call) -> AsyncIterator[bytes]:
        """What the relay brings back for these pieces, still sealed."""

        async def send():
            for piece in pieces:
                yield piece

        answer = self.serving.relay.Exchange(send(), timeout=20, **call)
        try:
            async for frame in answer:
                yield frame.payload
        finally:
            answer.cancel()

    async def fetch(self, question: gateway_pb2.FetchRequest, mark=lambda opaque: opaque, **call):
        """The opened answer to a sealed question."""
        key = configuration_of(self.world.gateway_key.public_key)
        sealer = RequestSealer(key, media=FETCH)
        piece = sealer.seal(question.SerializeToString(), final=True)
        carried = await self.serving.relay.Fetch(
            mark(gateway_pb2.Opaque(payload=piece)), timeout=10, **call
        )
        opener = sealer.response()
        pieces = split_message(carried.payload, prefix_bytes=opener.prefix_bytes)
        *data, word = [opener.open(piece) for piece in pieces]
        if word:
            raise CloudRefused("sealed", refusal=RefusalCode(word.decode()))
        return gateway_pb2.FetchResponse.FromString(b"".join(data))

    async def ask(self, sealed, **spend) -> list[bytes]:
        """Messages of a whole answer."""
        messages = []
        async for frame in self.exchange(self.frames(sealed, **spend)):
            if frame.WhichOneof("frame") == "server_nonce":
                sealed.opener.start(frame.server_nonce)
            elif (message := sealed.opener.open(SealedChunk.from_proto(frame.chunk))) is not None:
                messages.append(message)
        assert sealed.opener.finished
        return messages

    async def refused(self, frames) -> str:
        """The refusal's word, under the seal; fails when the exchange succeeds."""
        with pytest.raises(CloudRefused) as caught:
            async for _ in self.exchange(frames):
                pass
        return caught.value.refusal

    async def refused_in_the_clear(self, pieces) -> str:
        """The status's word for pieces as they are; fails when the exchange succeeds."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in self.carried(pieces):
                pass
        return caught.value.details()


@pytest.fixture(scope="session")
def issuer_key() -> TokenIssuer:
    return TokenIssuer.generate()


@pytest.fixture
def world(tmp_path: Path, issuer_key: TokenIssuer) -> Iterator[World]:
    made = World(tmp_path, issuer_key)
    yield made
    made.log.close()


@pytest.fixture
async def make_node(world: World) -> AsyncIterator[Callable]:
    nodes: list[FakeNode] = []

    async def make(**options) -> FakeNode:
        nodes.append(await FakeNode(world, **options).start())
        return nodes[-1]

    yield make
    for node in nodes:
        await node.stop()


@pytest.fixture
async def make_serving(world: World) -> AsyncIterator[Callable]:
    made: list[Serving] = []

    async def make(*, relay: dict | None = None, **limits) -> Serving:
        made.append(await Serving(world, **limits).start(**(relay or {})))
        return made[-1]

    yield make
    for serving in made:
        await serving.close()


@pytest.fixture
async def serving(make_serving) -> Serving:
    return await make_serving()


@pytest.fixture
def device(serving: Serving) -> Device:
    return Device(serving)


@pytest.fixture
def device_of() -> type[Device]:
    return Device


@pytest.fixture
def eventually() -> Callable:
    async def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    return wait
