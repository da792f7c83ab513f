"""``lanai log``: show what is stored, verify a note, replay a folder and a service."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.identity import TlsIdentity
from device_agent.cloud.checkpoints import CheckpointStore
from lanai.cli.mount import run
from protos.lanai.v1alpha import log_pb2, log_pb2_grpc
from trust.bundle import Checkpoint
from trust.log.merkle import leaf_hash
from trust.log.notes import NoteSigner, attach, open_note
from trust.log.proof import format_proof
from trust.log.tiles import tile_path
from trust.log.transparency_log import TransparencyLog
from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.updates import TrustRootStore
from trust.updates.testing import unsafe_enrol

RELEASE = unsafe_release().canonical()
LEAVES = [b"first", RELEASE, *(b"leaf %d" % number for number in range(5))]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def folder(home: Path) -> Path:
    """Where the local cluster keeps its log."""
    return home / "state" / "clusters" / "default" / "log"


@pytest.fixture
def log(home: Path, folder: Path) -> Iterator[TransparencyLog]:
    """A published log of seven leaves whose trust root this device is enrolled with."""
    world = UnsafeTrustWorld(now=int(time.time()))
    unsafe_enrol(home / "state", world.root)
    with TransparencyLog.create(world.origin, world.log_signer, folder) as log:
        for leaf in LEAVES:
            log.append(leaf)
        note = log.checkpoint()
        text = open_note(note, [world.log_signer.verifier]).text
        for signer in world.witness_signers[:2]:
            line = signer.line(text, now=world.now).encode()
            note = attach(note, line, signer.verifier)
        log.publish(note)
        yield log


def enrolled(home: Path) -> TrustRoot:
    root = TrustRootStore.of(home / "state").current()
    assert root is not None
    return root


def stored(home: Path) -> CheckpointStore:
    return CheckpointStore.of(enrolled(home), home / "state" / "checkpoints")


def newest(log: TransparencyLog, home: Path) -> Checkpoint:
    assert log.published is not None
    return Checkpoint.parse(log.published.partition(b"\n\n")[0].decode() + "\n")


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(values) >= {"size", "root", "witnesses"}
    return values


def test_show(log: TransparencyLog, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stored checkpoint is shown with the witnesses that stand behind it."""
    assert run(["log", "show"]) == 1, "nothing is stored yet"
    stored(home).advance(newest(log, home))
    capsys.readouterr()
    assert run(["log", "show", "--json"]) == 0
    values = shown(capsys)
    assert (values["size"], values["quorum"]) == (7, 2)
    assert values["root"] == newest(log, home).root.hex()
    assert values["witnesses"] == [f"witness{i}.invalid" for i in range(3)]


def test_verify_a_checkpoint(
    log: TransparencyLog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cosigned checkpoint verifies and names exactly its cosigners; the log's own does not."""
    assert run(["log", "verify", str(folder / "checkpoint"), "--json"]) == 0
    values = shown(capsys)
    assert values["witnesses"] == ["witness0.invalid", "witness1.invalid"]
    assert (values["verified"], values["size"]) == (True, 7)
    assert run(["log", "verify", str(folder / "signed-checkpoint"), "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["reasons"] == ["witness_quorum"]


def test_verify_noise(log: TransparencyLog, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stranger's note and noise exit 10 with a reason."""
    stranger = NoteSigner("log.invalid/releases", Ed25519PrivateKey.generate())
    for data, reason in (
        (stranger.sign("log.invalid/releases\n"), "unknown_key"),
        (b"noise", "malformed"),
        (b"x" * 200_000, "too_large"),
    ):
        (home / "note").write_bytes(data)
        assert run(["log", "verify", str(home / "note"), "--json"]) == 10
        assert json.loads(capsys.readouterr().out)["reasons"] == [reason]


def test_verify_a_proof(
    log: TransparencyLog, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tlog-proof verifies for its own leaf and for no other."""
    (home / "proof").write_text(format_proof(log.inclusion(leaf_hash(RELEASE))))
    (home / "leaf").write_bytes(RELEASE)
    command = ["log", "verify", str(home / "proof"), "--leaf", str(home / "leaf"), "--json"]
    assert run(command) == 0
    assert shown(capsys)["leaf"] == 1
    (home / "leaf").write_bytes(b"another")
    assert run(command) == 10
    assert json.loads(capsys.readouterr().out)["reasons"] == ["inclusion"]


def test_audit_the_local_log(
    log: TransparencyLog, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without arguments the local cluster's whole log is replayed."""
    stored(home).advance(newest(log, home))
    assert run(["log", "audit", "--json"]) == 0
    values = shown(capsys)
    assert (values["size"], values["releases"], values["unreadable"]) == (7, 1, 6)
    assert (values["stored_size"], values["verified"]) == (7, True)


@pytest.mark.parametrize("level", [0, "entries"])
def test_audit_finds_a_changed_leaf(
    log: TransparencyLog, folder: Path, capsys: pytest.CaptureFixture[str], level: int | str
) -> None:
    """One changed byte in a tile or an entry fails the audit."""
    path = folder / tile_path(level, 0, len(LEAVES))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert run(["log", "audit", str(folder), "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["verified"] is False


def test_audit_finds_a_rewritten_history(
    log: TransparencyLog, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that no longer holds what this device stored fails the audit."""
    stored(home).advance(replace(newest(log, home), size=3, root=bytes(32)))
    assert run(["log", "audit", "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["reasons"] == ["split_view"]


def test_audit_wants_one_source(home: Path, log: TransparencyLog) -> None:
    """Contradictory or incomplete arguments are usage errors; no log is a failure."""
    (home / "pem").write_text("no certificate")
    assert run(["log", "audit", "--log", "127.0.0.1:1"]) == 2
    assert run(["log", "audit", "--certificate", str(home / "pem")]) == 2
    pinned = ["--log", "127.0.0.1:1", "--certificate", str(home / "pem")]
    assert run(["log", "audit", str(home), *pinned]) == 2
    assert run(["log", "audit", *pinned]) == 2
    assert run(["log", "audit", str(home)]) == 1


# over gRPC ----------------------------------------------------------------------------------


class LogOnTheWire(log_pb2_grpc.LogServicer):
    """The readers' two methods over a real log, three leaves at a time."""

    def __init__(self, log: TransparencyLog) -> None:
        self._log = log

    def Checkpoint(  # noqa: N802
        self, request: log_pb2.CheckpointRequest, context: grpc.ServicerContext
    ) -> log_pb2.CheckpointResponse:
        return log_pb2.CheckpointResponse(note=self._log.published or b"")

    def Entries(  # noqa: N802
        self, request: log_pb2.EntriesRequest, context: grpc.ServicerContext
    ) -> log_pb2.EntriesResponse:
        return log_pb2.EntriesResponse(
            leaves=self._log.entries(request.start, min(3, request.count))
        )


@pytest.fixture
def service(log: TransparencyLog, home: Path) -> Iterator[str]:
    """The log behind pinned TLS; its certificate lies in ``pem``."""
    identity = TlsIdentity.generate("log")
    (home / "pem").write_bytes(identity.certificate_pem)
    with ThreadPoolExecutor(max_workers=1) as threads:
        server = grpc.server(threads)
        log_pb2_grpc.add_LogServicer_to_server(LogOnTheWire(log), server)
        pair = (identity.private_key_pem, identity.certificate_pem)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait(10)


def test_audit_a_service(service: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same replay over the log's gRPC service, in as many batches as it takes."""
    assert (
        run(["log", "audit", "--log", service, "--certificate", str(home / "pem"), "--json"]) == 0
    )
    values = shown(capsys)
    assert (values["size"], values["releases"]) == (7, 1)


def test_audit_pins_the_certificate(
    service: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind another certificate nothing is read."""
    (home / "other").write_bytes(TlsIdentity.generate("log").certificate_pem)
    assert run(["log", "audit", "--log", service, "--certificate", str(home / "other")]) == 1
    assert "did not answer" in capsys.readouterr().err
