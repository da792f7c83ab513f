"""Two of three witnesses: what a log may show with them, and what a device refuses without."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.events import Component, EventLog
from cloud_node.identity import SERVER_OPTIONS, TlsIdentity, server_credentials
from cloud_node.publishing import Publisher, WitnessEndpoint, WitnessPeer
from cloud_node.witness import WitnessService
from lanai.errors import LogRejected, Rejection
from protos.lanai.v1alpha import log_pb2_grpc
from trust.bundle import Checkpoint
from trust.log.merkle import leaf_hash
from trust.log.notes import NoteSigner
from trust.log.transparency_log import TransparencyLog
from trust.log.witness import WitnessState
from trust.logged import LogVerifier
from trust.testing import UnsafeTrustWorld

ORIGIN = "tests-log"
LEAF = b"a release"


class Witness:
    """A witness with a memory, behind its own port; ``time`` is what it believes."""

    def __init__(self, number: int, log_key: NoteSigner) -> None:
        self.signer = NoteSigner.cosigner(f"witness-{number}", Ed25519PrivateKey.generate())
        state = WitnessState(self.signer, {ORIGIN: log_key.verifier}, persist=lambda text: None)
        self.time = time.time()
        events = EventLog(Component.WITNESS, stream=io.StringIO())
        self.service = WitnessService(state, events, clock=lambda: self.time)
        self.server: grpc.aio.Server | None = None

    async def start(self) -> WitnessEndpoint:
        identity = TlsIdentity.generate("witness")
        self.server = grpc.aio.server(options=SERVER_OPTIONS)
        log_pb2_grpc.add_WitnessServicer_to_server(self.service, self.server)
        port = self.server.add_secure_port("127.0.0.1:0", server_credentials(identity))
        await self.server.start()
        return WitnessEndpoint(
            address=f"127.0.0.1:{port}",
            certificate=identity.certificate_pem.decode(),
            vkey=self.signer.vkey,
        )

    async def stop(self) -> None:
        await self.server.stop(None)


class Quorum:
    """A log key, three witnesses, and the trust root of a device that demands two of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
        self.witnesses = [Witness(number, self.key) for number in range(3)]
        self.root = replace(
            UnsafeTrustWorld(now=int(time.time())).root,
            log_origin=ORIGIN,
            log_key=self.key.vkey,
            witnesses=tuple(witness.signer.vkey for witness in self.witnesses),
            quorum=2,
            checkpoint_max_age_s=3600,
        )
        self.closing: list[Callable] = []

    async def start(self) -> "Quorum":
        self.endpoints = [await witness.start() for witness in self.witnesses]
        self.closing += [witness.stop for witness in self.witnesses]
        return self

    def log(self, name: str, leaves: Sequence[bytes]) -> TransparencyLog:
        """A log under the one key; two of them are a split view."""
        log = TransparencyLog.create(ORIGIN, self.key, self.folder / name)

        async def close() -> None:
            log.close()

        self.closing.append(close)
        for leaf in leaves:
            log.append(leaf)
        return log

    async def publish(self, log: TransparencyLog, *, quorum: int = 2, ask=(0, 1, 2)) -> bool:
        peers = [WitnessPeer(self.endpoints[number]) for number in ask]
        events = EventLog(Component.LOG, stream=io.StringIO())
        publisher = Publisher(log, self.key.verifier, peers, quorum=quorum, events=events)
        published = await publisher.publish()
        for peer in peers:
            await peer.close()
        return published

    def conspire(self, log: TransparencyLog) -> None:
        """Every witness signs whatever it is shown."""
        note, now = log.checkpoint(), int(time.time())
        text = note.decode().rpartition("\n\n")[0] + "\n"
        lines = [witness.signer.line(text, now=now) for witness in self.witnesses]
        log.publish(note + "".join(lines).encode())

    def judged(self, log: TransparencyLog, seen: Checkpoint | None = None, proof=()) -> Checkpoint:
        """What a device makes of the leaf's proof."""
        signed = LogVerifier(self.root).verify(
            LEAF, log.inclusion(leaf_hash(LEAF)), now=time.time(), seen=seen, consistency=proof
        )
        return signed.checkpoint

    def refusal(self, log: TransparencyLog, seen: Checkpoint | None = None, proof=()) -> Rejection:
        with pytest.raises(LogRejected) as caught:
            self.judged(log, seen, proof)
        return caught.value.reason


@pytest.fixture
async def quorum(tmp_path: Path):
    made = await Quorum(tmp_path).start()
    yield made
    for close in reversed(made.closing):
        await close()


async def test_two_of_three_suffice(quorum) -> None:
    """With one witness gone the log goes on; a device accepts what the others cosigned."""
    log = quorum.log("log", [b"first", LEAF])
    await quorum.witnesses[2].stop()
    assert await quorum.publish(log)
    assert quorum.judged(log).size == 2


async def test_missing_quorum(quorum) -> None:
    """With two gone nothing new is public, and one cosignature convinces no device."""
    log = quorum.log("log", [LEAF])
    for witness in quorum.witnesses[1:]:
        await witness.stop()
    assert not await quorum.publish(log)
    assert log.published is None
    assert await quorum.publish(log, quorum=1)
    assert quorum.refusal(log) is Rejection.WITNESS_QUORUM


async def test_split_view(quorum) -> None:
    """Of two histories under one key, one at most finds a quorum; a device keeps to what it saw."""
    one, other = quorum.log("one", [LEAF, b"x"]), quorum.log("other", [LEAF, b"y"])
    assert await quorum.publish(one)
    assert not await quorum.publish(other)
    assert await quorum.publish(other, quorum=0)
    assert quorum.refusal(other) is Rejection.WITNESS_QUORUM
    seen = quorum.judged(one)
    # Witnesses that break their word convince a fresh device, and not one that saw the other.
    quorum.conspire(other)
    assert quorum.judged(other).size == 2
    assert quorum.refusal(other, seen) is Rejection.SPLIT_VIEW


async def test_rollback(quorum) -> None:
    """A log that forgot its newest leaf finds no witness, and no device that saw it."""
    log = quorum.log("log", [LEAF, b"second", b"third"])
    assert await quorum.publish(log)
    seen = quorum.judged(log)
    older = quorum.log("older", [LEAF, b"another"])
    assert not await quorum.publish(older)
    quorum.conspire(older)
    assert quorum.refusal(older, seen, log.consistency(2, 3)) is Rejection.ROLLBACK


async def test_stale_checkpoint(quorum) -> None:
    """Cosignatures of two hours ago, or of a clock far ahead, prove nothing about now."""
    log = quorum.log("log", [LEAF])
    for witness in quorum.witnesses[:2]:
        witness.time -= 7200
    assert await quorum.publish(log)
    assert quorum.refusal(log) is Rejection.STALE_CHECKPOINT
    for witness in quorum.witnesses:
        witness.time = time.time() + 600
    assert await quorum.publish(log)
    assert quorum.refusal(log) is Rejection.STALE_CHECKPOINT
    quorum.witnesses[0].time = quorum.witnesses[1].time = time.time()
    assert await quorum.publish(log)
    assert quorum.judged(log).size == 1


async def test_one_witness_under_two_names_is_one(quorum) -> None:
    """A cosignature given twice counts once towards the quorum."""
    log = quorum.log("log", [LEAF])
    assert await quorum.publish(log, quorum=1, ask=(0,))
    line = log.published.splitlines(keepends=True)[-1]
    log.publish(log.published + line)
    assert quorum.refusal(log) is Rejection.WITNESS_QUORUM
