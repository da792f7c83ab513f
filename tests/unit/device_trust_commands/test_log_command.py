"""``lanai log``: show what is stored, verify a note, replay a folder and a service."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.static_files import StaticServer
from device_agent.cloud.checkpoints import CheckpointStore
from lanai.cli.mount import run
from trust.bundle import Checkpoint
from trust.log.merkle import Tree, leaf_hash
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
    """The log's part of a public tree."""
    return home / "public" / "log"


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
    """The stored checkpoint is shown with the witnesses that really cosigned it."""
    assert run(["log", "show"]) == 1, "nothing is stored yet"
    stored(home).advance(newest(log, home))
    capsys.readouterr()
    assert run(["log", "show", "--json"]) == 0
    assert shown(capsys)["witnesses"] == [], "no note was kept: nobody is named"
    stored(home).advance(newest(log, home), note=log.published)
    assert run(["log", "show", "--json"]) == 0
    values = shown(capsys)
    assert (values["size"], values["quorum"]) == (7, 2)
    assert values["root"] == newest(log, home).root.hex()
    assert values["witnesses"] == ["witness0.invalid", "witness1.invalid"]
    assert set(values["cosigned_at"]) == set(values["witnesses"])


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


def test_audit_a_folder(
    log: TransparencyLog, folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole log is replayed, its tiles compared, and what was found in order is remembered."""
    stored(home).advance(replace(newest(log, home), size=2, root=log_root(2)))
    assert run(["log", "audit", str(folder), "--json"]) == 0
    values = shown(capsys)
    assert (values["size"], values["releases"], values["unreadable"]) == (7, 1, 6)
    assert (values["stored_size"], values["verified"], values["tiles"]) == (2, True, 1)
    assert values["keys"]["issuer"] == {"records": 0, "most_at_once": 0}
    assert values["witnesses"] == ["witness0.invalid", "witness1.invalid"]
    assert stored(home).newest() == newest(log, home)
    assert run(["log", "show", "--json"]) == 0
    assert shown(capsys)["witnesses"] == ["witness0.invalid", "witness1.invalid"]


def log_root(size: int) -> bytes:
    return Tree(leaf_hash(leaf) for leaf in LEAVES[:size]).root()


def test_audit_finds_a_missing_tile(
    log: TransparencyLog, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that does not show all of itself is not in order."""
    (folder / tile_path(0, 0, len(LEAVES))).unlink()
    assert run(["log", "audit", str(folder), "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["reasons"] == ["malformed"]


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
    log: TransparencyLog, folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that no longer holds what this device stored fails the audit."""
    stored(home).advance(replace(newest(log, home), size=3, root=bytes(32)))
    assert run(["log", "audit", str(folder), "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["reasons"] == ["split_view"]


def test_audit_wants_one_source(home: Path, log: TransparencyLog) -> None:
    """Contradictory arguments are usage errors; no log, and no relay, are failures."""
    assert run(["log", "audit", str(home), "--url", "http://127.0.0.1:1"]) == 2
    assert run(["log", "audit", "--url", "file:///etc"]) == 2
    assert run(["log", "audit", str(home)]) == 1
    assert run(["log", "audit", "--url", "http://127.0.0.1:1"]) == 1
    assert run(["log", "audit"]) == 1


# over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def served(log: TransparencyLog, folder: Path) -> Iterator[str]:
    """The public tree behind a real server in a thread of its own."""
    started, stop, found = threading.Event(), asyncio.Event(), list[str]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await StaticServer.start(folder.parent, host="127.0.0.1", port=0)
        found.append(server.url)
        started.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_audit_over_http(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same replay from a web server that knows nothing of logs."""
    assert run(["log", "audit", "--url", f"{served}/log", "--json"]) == 0
    values = shown(capsys)
    assert (values["size"], values["releases"]) == (7, 1)
    assert run(["log", "audit", "--url", served]) == 1, "no checkpoint below it"


def test_audit_over_http_finds_a_changed_leaf(
    served: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever serves the files cannot change them."""
    path = folder / tile_path("entries", 0, len(LEAVES))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert run(["log", "audit", "--url", f"{served}/log", "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["reasons"] == ["inclusion"]
