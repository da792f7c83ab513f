"""``lanai cloud node --inspect``: a published release runs here; what is not published does not."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cloud_node.inspection import MeasuredHere
from lanai.cli.mount import run
from trust.attestation import One
from trust.attestation.configuration import MeasuredSettings
from trust.attestation.nvidia import NvidiaPolicy
from trust.attestation.release import Release
from trust.log.notes import attach, open_note
from trust.log.transparency_log import TransparencyLog
from trust.testing import UnsafeTrustWorld, unsafe_release

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "ask_a_node.py"
HARDWARE = NvidiaPolicy(
    roots=("00" * 32,),
    models=("GH100",),
    gpus=1,
    revoked=(),
    minimum_driver="550.90",
    minimum_vbios="96.00.5E.00.01",
    minimum_switch_vbios="96.10.3B.00.01",
)
# What production's nodes are told, as any operator would write it into a configuration file.
SETTINGS = MeasuredSettings(
    profile="production",
    model_name="tiny",
    context_tokens=512,
    key_lifetime_s=86400,
    max_live=64,
    request_timeout_s=120.0,
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """An operator's public log and trust root, as files. ``index`` is of the release run here."""

    log: Path
    root: Path
    model: Path
    index: int
    release: Release

    def options(self, *more: str) -> list[str]:
        places = ("--log", str(self.log), "--policy", str(self.root), "--model", str(self.model))
        return ["cloud", "node", "--inspect", *places, *more, "--json"]


def publish(world: UnsafeTrustWorld, folder: Path, leaves: list[bytes]) -> None:
    with TransparencyLog.create(world.origin, world.log_signer, folder) as log:
        for leaf in leaves:
            log.append(leaf)
        note = log.checkpoint()
        text = open_note(note, [world.log_signer.verifier]).text
        for signer in world.witness_signers[:2]:
            note = attach(note, signer.line(text, now=world.now).encode(), signer.verifier)
        log.publish(note)


def operated(place: Path, model: Path, *, context_tokens: int = 512) -> Published:
    """A production root, whose log names what is installed here between two other leaves."""
    world = UnsafeTrustWorld(now=int(time.time()))
    record = replace(unsafe_release(context_tokens=context_tokens), model="tiny")
    release = MeasuredHere.of(model, SETTINGS).like(record)
    folder, root = place / "log", place / "root.json"
    other = replace(release, software="0" * 64, weights="1" * 64)
    publish(world, folder, [b"a leaf", release.canonical(), other.canonical()])
    elsewhere = replace(world.root.relay, address="relay.example:443")
    policy = replace(world.root, profile="production", relay=elsewhere, evidence=One(HARDWARE))
    root.write_text(policy.to_json())
    return Published(log=folder, root=root, model=model, index=1, release=release)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def published(home: Path, tiny_model: Path) -> Published:
    return operated(home, tiny_model)


def started(published: Published, talk: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """The command as its own process, and what it printed when it served."""
    with talk.open("w") as errors:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("lanai")), *published.options()],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, talk.read_text()
        text += line
    return process, json.loads(text)


def ended(process: subprocess.Popen[str]) -> int:
    process.terminate()
    process.communicate(timeout=60)
    return process.returncode


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def alive(found: dict[str, Any]) -> list[str]:
    return [name for name, pid in found["pieces"].items() if Path(f"/proc/{pid}").exists()]


def test_a_published_release_runs_here_and_answers(published: Published, tmp_path: Path) -> None:
    """Measured, found, run as the tree of a node, asked directly, and gone without a trace."""
    before = times(published.log)
    process, found = started(published, tmp_path / "talk")
    try:
        assert (found["published"], found["release"]) == (True, published.index)
        assert found["measurement"] == published.release.digest()
        assert found["missing"] == []
        # A device of this root says no, and the command says so.
        assert (found["accepted"], found["reasons"]) == (False, ["kind_not_accepted"])
        names = ["launcher", "front", "keyholder", "zygote", "engine", "store"]
        assert sorted(alive(found)) == sorted(names)
        assert "tokens of tiny" in asked(found, tmp_path / "printed.json")
    finally:
        code = ended(process)
    assert code == 0
    assert "a device of this trust root refuses its evidence" in (tmp_path / "talk").read_text()
    assert not Path(found["bundle"]).parent.exists()
    assert alive(found) == []
    assert times(published.log) == before


def asked(found: dict[str, Any], printed: Path) -> str:
    """What the example says that speaks to a node directly."""
    printed.write_text(json.dumps(found))
    command = [sys.executable, str(EXAMPLE), str(printed), "Hello"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("changed", ["weights", "software", "configuration"])
def test_what_is_not_published_is_not_run(
    published: Published,
    changed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One changed byte, of any of the three, and the log names no such release: exit 10."""
    more = []
    if changed == "weights":
        copy = shutil.copytree(published.model, tmp_path / "copy")
        (copy / "note.txt").write_text("one file more")
        published = replace(published, model=copy)
    elif changed == "software":
        monkeypatch.setattr("cloud_node.inspection.comparison.measure_software", lambda: "f" * 64)
    else:
        (tmp_path / "config.json").write_text(json.dumps({"max_live": 65}))
        more = ["--config", str(tmp_path / "config.json")]
    assert run(published.options(*more)) == 10
    output = capsys.readouterr()
    values = json.loads(output.out)
    assert (values["published"], values["release"]) == (False, published.index)
    assert (values["differs"], values["reasons"]) == ([changed], ["measurement"])
    assert "not in the log" in output.err
    assert "pieces" not in values


def test_a_log_that_is_refused_runs_nothing(
    published: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    """A leaf that was changed afterwards: the log does not lead to what its witnesses signed."""
    (entries,) = (published.log / "tile" / "entries").rglob("*.p/3")
    os.chmod(entries, 0o644)
    entries.write_bytes(entries.read_bytes().replace(b"a leaf", b"a loaf"))
    assert run(published.options()) == 10
    values = json.loads(capsys.readouterr().out)
    assert (values["published"], values["reasons"]) == (False, ["inclusion"])


def test_another_leaf_can_be_named(
    published: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compared with that record alone, which says what differs."""
    assert run(published.options("--release", "2")) == 10
    values = json.loads(capsys.readouterr().out)
    assert (values["release"], values["differs"]) == (2, ["software", "weights"])


def test_a_node_that_does_not_start_says_why(
    home: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record asks for more context than the model has: its last events are shown, exit 1."""
    assert run(operated(home, tiny_model, context_tokens=1 << 20).options()) == 1
    output = capsys.readouterr()
    assert '"event": "failed"' in output.err
    assert "did not become ready" in output.err
    assert output.out == ""
