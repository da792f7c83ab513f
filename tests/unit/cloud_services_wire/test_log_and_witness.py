"""Log and witness as services: what becomes public, and what is refused."""

import hashlib
import io
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.events import Component, EventLog
from cloud_node.identity import (
    SERVER_OPTIONS,
    TlsIdentity,
    open_channel,
    server_credentials,
)
from cloud_node.keyfiles import kept_key
from cloud_node.listening import ListenConfig
from cloud_node.log_service import LogService
from cloud_node.publishing import Publisher, WitnessEndpoint, WitnessPeer
from cloud_node.witness import WitnessConfig, WitnessService, create_state, open_state
from lanai.errors import ConfigError
from protos.lanai.v1alpha import log_pb2, log_pb2_grpc
from trust.log.checkpoint import Checkpoint
from trust.log.merkle import leaf_hash, verify_consistency
from trust.log.notes import NoteSigner, open_note
from trust.log.transparency_log import TransparencyLog

CREDENTIAL = b"operator" * 4


class Site:
    """A log and its witness, each behind its own port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = NoteSigner("log", Ed25519PrivateKey.generate())
        kept_key(folder / "witness.key")
        self.witness_config = WitnessConfig(
            listen=ListenConfig(identity=folder / "unused"),
            name="witness",
            signing_key=folder / "witness.key",
            state=folder / "witness.json",
            logs={"log": self.signer.vkey},
        )
        create_state(self.witness_config)
        self.witness_vkey = self.witness_config.signer().vkey
        self.log = TransparencyLog.create("log", self.signer, folder / "log")
        self.events = EventLog(Component.LOG, stream=io.StringIO())
        self.closing = []

    async def start(self) -> "Site":
        self.witness_endpoint = await self.start_witness()
        self.service = LogService(
            self.log,
            self.publisher(),
            self.events,
            credential_sha256=hashlib.sha256(CREDENTIAL).hexdigest(),
        )
        address, certificate = await self.serve(
            lambda s: log_pb2_grpc.add_LogServicer_to_server(self.service, s)
        )
        channel = open_channel(address, certificate)
        self.closing.append(lambda: channel.close(None))
        self.stub = log_pb2_grpc.LogStub(channel)
        return self

    async def start_witness(self) -> WitnessEndpoint:
        service = WitnessService(open_state(self.witness_config), self.events)
        address, certificate = await self.serve(
            lambda s: log_pb2_grpc.add_WitnessServicer_to_server(service, s)
        )
        return WitnessEndpoint(
            address=address, certificate=certificate.decode(), vkey=self.witness_vkey
        )

    def publisher(self, quorum: int = 1) -> Publisher:
        peer = WitnessPeer(self.witness_endpoint)
        self.closing.append(peer.close)
        return Publisher(self.log, self.signer.verifier, [peer], quorum=quorum, events=self.events)

    async def serve(self, register) -> tuple[str, bytes]:
        identity = TlsIdentity.generate("any")
        server = grpc.aio.server(options=SERVER_OPTIONS)
        register(server)
        port = server.add_secure_port("127.0.0.1:0", server_credentials(identity))
        await server.start()
        self.closing.append(lambda: server.stop(0))
        return f"127.0.0.1:{port}", identity.certificate_pem

    async def append(self, leaf: bytes, credential: bytes = CREDENTIAL) -> int:
        request = log_pb2.AppendRequest(leaf=leaf, credential=credential)
        return (await self.stub.Append(request, timeout=10)).index

    async def close(self) -> None:
        for close in reversed(self.closing):
            await close()
        self.log.close()


@pytest.fixture
async def site(tmp_path: Path):
    made = await Site(tmp_path).start()
    yield made
    await made.close()


async def test_an_appended_leaf_is_public_and_cosigned(site) -> None:
    """Append returns when a witness cosigned the tree that holds the leaf."""
    assert await site.append(b"a release") == 0
    assert await site.append(b"another") == 1
    assert await site.append(b"a release") == 0
    proof = await site.stub.Inclusion(
        log_pb2.InclusionRequest(leaf_hash=leaf_hash(b"another")), timeout=10
    )
    keys = [site.signer.verifier, site.witness_config.signer().verifier]
    opened = open_note(proof.note, keys)
    assert opened.signers.keys() == {"log", "witness"}
    assert (proof.index, Checkpoint.parse(opened.text).size) == (1, 2)
    leaves = await site.stub.Entries(log_pb2.EntriesRequest(start=0, count=9), timeout=10)
    assert list(leaves.leaves) == [b"a release", b"another"]
    hashes = await site.stub.Consistency(
        log_pb2.LogConsistencyRequest(old_size=1, new_size=2), timeout=10
    )
    verify_consistency(
        1,
        2,
        old_root=leaf_hash(b"a release"),
        new_root=Checkpoint.parse(opened.text).root,
        proof=tuple(hashes.hashes),
    )


async def test_only_the_operator_appends(site) -> None:
    """A wrong credential adds nothing."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.append(b"forged", credential=b"guess")
    assert caught.value.details() == "unauthenticated"
    assert site.log.size == 0


async def test_without_the_quorum_the_old_checkpoint_stays_public(site) -> None:
    """Too few cosignatures publish nothing; readers keep what they had."""
    await site.append(b"one")
    before = site.log.published
    site.log.append(b"two")
    assert await site.publisher(quorum=2).publish() is False
    assert site.log.published == before


async def test_a_log_that_forgot_the_witness_is_told_the_size(site) -> None:
    """A restarted log asks with size 0, learns what was cosigned last, and goes on."""
    await site.append(b"one")
    site.log.append(b"two")
    assert await site.publisher().publish() is True
    assert Checkpoint.parse(open_note(site.log.published, [site.signer.verifier]).text).size == 2


async def test_a_witness_cosigns_no_second_history(site, tmp_path) -> None:
    """Another tree under the same key gets no cosignature, after a restart of the witness too."""
    await site.append(b"one")
    fork = TransparencyLog.create("log", site.signer, tmp_path / "fork")
    fork.append(b"not one")
    fork.append(b"two")
    site.witness_endpoint = await site.start_witness()
    honest, site.log = site.log, fork
    assert await site.publisher().publish() is False
    fork.close()
    site.log = honest


def test_a_witness_without_memory_does_not_start(tmp_path) -> None:
    """Memory that is gone is an error, never a fresh start."""
    kept_key(tmp_path / "witness.key")
    config = WitnessConfig(
        listen=ListenConfig(identity=tmp_path / "unused"),
        name="witness",
        signing_key=tmp_path / "witness.key",
        state=tmp_path / "gone.json",
        logs={},
    )
    with pytest.raises(ConfigError):
        open_state(config)
