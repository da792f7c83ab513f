"""The whole cloud in one process, of real parties: log, witnesses, issuer, nodes, gateway, relay.

Only three things are stand-ins: the network (`threat_wire`), the model's answer, and time. Every
key, bundle, proof, token, envelope and verification is the real code's. A test takes one party and
puts a hostile one in its place.
"""

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from threat_wire import Line, NodeChannel, ServiceStub

from cloud_node.events import Component, EventLog
from cloud_node.gateway.announcements import AnnouncementVerifier
from cloud_node.gateway.keys import LoggedKeys
from cloud_node.gateway.roster import Roster
from cloud_node.gateway.service import GatewayService, Limits
from cloud_node.gateway.spends import SpendVerifier
from cloud_node.identity import TlsIdentity
from cloud_node.issuer.accounts import AccountBook
from cloud_node.issuer.service import IssuerService
from cloud_node.node.front import Front, Shared
from cloud_node.node.keys import NodeKeys
from cloud_node.node.load import Load
from cloud_node.relay import RelayConfig, RelayService
from cloud_node.store import MemoryStore, Store
from cloud_node.testing.inline import InlineKeyholding
from cloud_node.tree.keyholder import Keyholder
from device_agent.cloud import Account, CheckpointStore, CloudClient, Wallet
from device_agent.cloud.tally import Tally
from device_agent.cloud.transport import refused
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import bundle_pb2, envelope_pb2
from protos.lanai.v1alpha.issuer_pb2 import IssueRequest
from trust.attestation import Release, UnsafeSoftwareAttester
from trust.attestation.evidence import Evidence
from trust.bundle import LogProof, NodeBundle
from trust.envelope import NodeKey
from trust.keys import KeyRecord, KeyVerifier
from trust.log.merkle import leaf_hash
from trust.ohttp import GatewayKey, GatewayKeys
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.tokens import TokenIssuer, token_challenge
from trust.verification import NodeVerifier

__all__ = ["ANSWER", "CHALLENGE", "ISSUER_KEY_S", "NodeParty", "Stage"]

CHALLENGE = token_challenge("issuer.invalid")
CREDENTIAL = b"c" * 32
ANSWER = ("the ", "answer")
HOUR_S = 3600
ISSUER_KEY_S = HOUR_S // 2


def _events(component: Component) -> EventLog:
    return EventLog(component, stream=io.StringIO())


class _Answerer:
    """The model: says what the test wants, and remembers that it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.pieces: Sequence[str] = ANSWER
        self.gate: asyncio.Event | None = None

    async def frames(self, asked: Any) -> AsyncGenerator[Any, None]:
        self.asked.append(asked)
        for number, piece in enumerate(self.pieces):
            if number and self.gate is not None:
                await self.gate.wait()
            yield envelope_pb2.AnswerFrame(text=piece)
        yield envelope_pb2.AnswerFrame(
            final=envelope_pb2.Final(finish_reason="stop", input_tokens=1, output_tokens=2)
        )


class _Attester:
    """Claims what its party wants claimed, at the time it is asked."""

    kind = UnsafeSoftwareAttester.kind

    def __init__(self, party: "NodeParty") -> None:
        self._party = party

    def attest(self, report_data: bytes) -> Evidence:
        operator = self._party._stage.world.operator_key
        return UnsafeSoftwareAttester(operator, self._party.attested).attest(report_data)


class NodeParty:
    """One node's front with its keys. ``restart`` is what a crash and a new process would do."""

    def __init__(self, stage: "Stage", name: str, *, release: Release, store: Store) -> None:
        self.name = name
        self.address = f"{name}.invalid:1"
        self.model = _Answerer()
        self.release = release
        self.attested = release
        """What the evidence claims; another than ``release`` is a lie of the node's."""
        self.store = store
        self.up = True
        self._stage = stage
        self.restart()

    def restart(self) -> None:
        """New keys and an empty memory: nothing of the old process is left."""
        stage = self._stage
        self._keyholder = Keyholder((_Attester(self),), clock=lambda: stage.now)
        self.renew_keys(lifetime_s=HOUR_S)

    def renew_keys(self, *, lifetime_s: int) -> None:
        """Keys of the keyholder's, and a front that serves requests sealed to them."""
        stage = self._stage
        identity = TlsIdentity.generate(self.name, lifetime_s=lifetime_s)
        offer = self._keyholder.offer(identity.spki_sha256, lifetime_s=lifetime_s)
        self.keys = NodeKeys(offer=offer, identity=identity)
        self.front = Front(
            Shared(
                store=self.store,
                load=Load(max_live=16),
                keyholding=InlineKeyholding(self._keyholder, self.model.frames),
                log=_events(Component.NODE),
                request_timeout_s=30.0,
                clock=lambda: stage.now,
            ),
            self.keys,
            self.bundle,
        )

    @property
    def node_id(self) -> bytes:
        return self.keys.node_id

    @property
    def key(self) -> NodeKey:
        """The private half, for what a hostile node could do with it."""
        return self._keyholder._held[self.node_id].key

    @property
    def executions(self) -> int:
        """Requests that reached the model."""
        return len(self.model.asked)

    def bundle(self) -> NodeBundle:
        """Keys, evidence for them, and the log's newest proof of the release."""
        stage, keys, offer = self._stage, self.keys, self.keys.offer
        return NodeBundle(
            hpke_public_key=offer.public_key,
            tls_certificate=keys.identity.certificate_der,
            not_before=offer.not_before,
            expires_at=offer.expires_at,
            evidence=(_Attester(self).attest(keys.report_data),),
            release=self.release,
            proof=stage.proof(self.release.canonical()),
        )

    def announcement(self) -> bytes:
        """As the node signs it for the store."""
        said = bundle_pb2.Announcement(
            address=self.address, bundle=self.bundle().to_proto(), issued_at=int(self._stage.now)
        ).SerializeToString()
        return bundle_pb2.SignedAnnouncement(
            announcement=said, signature=self.keys.identity.sign(said)
        ).SerializeToString()


class LogParty:
    """The log as gateway and devices ask it."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        if not 0 < old_size <= new_size <= self._stage.world.tree.size:
            raise CloudRefused("sizes", refusal=RefusalCode.BAD_REQUEST)
        return self._stage.world.tree.consistency(old_size, new_size)

    async def inclusion(self, hash_of_leaf: bytes) -> LogProof:
        leaves = [leaf for leaf in self._stage.leaves if leaf_hash(leaf) == hash_of_leaf]
        if not leaves:
            raise CloudRefused("no such leaf", refusal=RefusalCode.BAD_REQUEST)
        return self._stage.proof(leaves[0])

    async def entries(self, start: int, count: int) -> Sequence[bytes]:
        return self._stage.leaves[start : start + count]


class IssuerParty:
    """The issuer's service behind the device's seam to it. ``seen`` is all that it learns."""

    def __init__(self, stage: "Stage") -> None:
        self.seen: list[IssueRequest] = []
        self._key = stage.issuer
        book = AccountBook(stage.folder / "accounts.db")
        book.add("tester", CREDENTIAL, daily_tokens=1000)
        self._service = IssuerService(
            self,  # type: ignore[arg-type]  # the ring of keys, with one in it
            book,
            _events(Component.ISSUER),
            clock=lambda: stage.now,
        )
        self.close_book = book.close

    def find(self, key_id: bytes) -> TokenIssuer:
        if key_id != self._key.key_id:
            raise CloudRefused("key", refusal=RefusalCode.BAD_REQUEST)
        return self._key

    async def issue(
        self, account: str, credential: bytes, key_id: bytes, blinded: Sequence[bytes]
    ) -> tuple[tuple[bytes, ...], int]:
        request = IssueRequest(
            account=account, credential=credential, token_key_id=key_id, blinded=blinded
        )
        self.seen.append(request)
        try:
            answer = self._service.issue(request)
        except CloudRefused as error:
            raise refused(error.refusal) from None
        return tuple(answer.signatures), answer.remaining

    async def close(self) -> None:
        """Nothing is open."""


class _NoFiles:
    async def read(self, path: str) -> Any:
        raise CloudRefused("path", refusal=RefusalCode.BAD_REQUEST)


@dataclass(kw_only=True)
class Stage:
    """Everybody. Change a part before `start`; a device joins with `device`."""

    issuer: TokenIssuer
    folder: Path
    nodes: int = 3
    store: Store = field(default_factory=MemoryStore)
    now: float = field(default_factory=lambda: float(int(time.time())))

    def __post_init__(self) -> None:
        self.world = UnsafeTrustWorld(now=int(self.now))
        self.root = replace(self.world.root, token_challenge=CHALLENGE.hex())
        self.log = LogParty(self)
        self.gateway_key = GatewayKey.generate()
        self.publish_key("issuer", self.issuer.spki, lifetime_s=ISSUER_KEY_S)
        self.publish_key("gateway", self.gateway_key.public_key)
        self.parties = [self.node(f"node-{number}") for number in range(self.nodes)]
        self.gateway = self._gateway()
        self.relay = self.relay_to(self.gateway)
        self.bank = IssuerParty(self)
        self._clients: list[CloudClient] = []

    @property
    def leaves(self) -> Sequence[bytes]:
        """What the log holds."""
        return self.world._leaves

    def publish_key(self, purpose: Any, key: bytes, *, lifetime_s: int = HOUR_S) -> KeyRecord:
        """A key's record, in the log."""
        record = KeyRecord(
            purpose=purpose,
            key=key,
            not_before=int(self.now) - 60,
            expires_at=int(self.now) - 60 + lifetime_s,
        )
        self.world.append(record.canonical())
        return record

    def proof(self, leaf: bytes) -> LogProof:
        """The newest proof of a leaf, which is published if it was not."""
        index = self.world.append(leaf)
        self.world.now = int(self.now)
        return LogProof(
            index=index,
            hashes=self.world.tree.inclusion(index),
            checkpoint=self.world.checkpoint(),
        )

    # parties

    def node(self, name: str, *, release: Release | None = None) -> NodeParty:
        """A node, not yet announced."""
        return NodeParty(self, name, release=release or unsafe_release(), store=self.store)

    async def announce(self, *parties: NodeParty) -> None:
        """Have these nodes, or all, in the store and the gateway's roster."""
        for party in parties or self.parties:
            await self.store.announce(party.node_id, party.announcement(), ttl_s=HOUR_S)
        await self.roster.refresh()
        await self.keys.refresh()

    def device(
        self,
        name: str = "device",
        *,
        transport: Any = None,
        issuer: Any = None,
        seal_to_nodes: int = 3,
        token_batch: int = 4,
    ) -> CloudClient:
        """An enrolled device; its wallet, checkpoints and counts are in a folder of its own."""
        folder = self.folder / name
        client = CloudClient(
            self.root,
            transport=transport or Line(self.relay),
            issuer=issuer or self.bank,
            account=Account(account="tester", credential=CREDENTIAL),
            wallet=Wallet.of(self.root, folder / "wallet.json"),
            checkpoints=CheckpointStore.of(self.root, folder / "checkpoints"),
            tally=Tally.of(self.root, folder / "tally.json"),
            seal_to_nodes=seal_to_nodes,
            token_batch=token_batch,
            clock=lambda: self.now,
            random=Random(7),
        )
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Every client and the issuer's book."""
        for client in self._clients:
            await client.close()
        self.bank.close_book()

    def relay_to(self, gateway: Any) -> RelayService:
        """A real relay in front of any gateway."""
        config = RelayConfig.model_construct(
            max_request_bytes=2**21, max_exchanges=64, timeout_s=30.0
        )
        return RelayService(ServiceStub(gateway), config, _events(Component.RELAY))

    def _gateway(self) -> GatewayService:
        def clock() -> float:
            return self.now

        events = _events(Component.GATEWAY)
        verifier = AnnouncementVerifier(
            NodeVerifier(self.root, clock=clock),
            self.log.consistency,
            max_age_s=HOUR_S,
            clock=clock,
        )
        self.roster = Roster(self.store, verifier, self._connect, events, clock=clock)
        self.keys = LoggedKeys(self.log, KeyVerifier(self.root, clock=clock), events, clock=clock)
        return GatewayService(
            self.roster,
            self.keys,
            SpendVerifier(self.keys, CHALLENGE, clock=clock),
            self.store,
            self.log.consistency,
            _NoFiles(),
            events,
            opening=GatewayKeys([self.gateway_key]),
            limits=Limits(),
            clock=clock,
        )

    def _connect(self, address: str, certificate: bytes) -> NodeChannel:
        def find() -> Front | None:
            for party in self.parties:
                pinned = party.keys.identity.certificate_der == certificate
                if party.address == address and pinned and party.up:
                    return party.front
            return None

        return NodeChannel(find)
