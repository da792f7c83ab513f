"""``lanai attest``: its keys, exit codes, and that it judges as a request would."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.cloud.checkpoints import CheckpointStore
from lanai.cli.mount import run
from trust.attestation import One, UnsafeSoftwarePolicy, measure_folder, measure_software
from trust.bundle import Checkpoint
from trust.testing import UnsafeTrustWorld
from trust.updates.testing import unsafe_enrol

KEYS = {"verified", "evidence", "measurement", "reasons"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def world(home: Path) -> UnsafeTrustWorld:
    """A world whose trust root this device is enrolled with."""
    world = UnsafeTrustWorld(now=int(time.time()))
    world.append(b"an older leaf")
    unsafe_enrol(home / "state", world.root)
    return world


@pytest.fixture
def bundle(home: Path, world: UnsafeTrustWorld) -> Path:
    path = home / "bundle"
    path.write_bytes(world.bundle(b"k" * 1216).serialize())
    return path


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    values: dict[str, object] = json.loads(capsys.readouterr().out)
    assert set(values) >= KEYS
    return values


def test_a_good_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that verifies exits 0 and names evidence and measurement."""
    assert run(["attest", "verify", str(bundle), "--json"]) == 0
    values = shown(capsys)
    assert (values["verified"], values["evidence"]) == (True, "unsafe_software")
    assert (len(str(values["measurement"])), values["reasons"]) == (64, [])


def test_standard_input(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dash reads the bundle from stdin."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bundle.read_bytes())))
    assert run(["attest", "verify", "-", "--json"]) == 0
    assert shown(capsys)["verified"] is True


def test_a_damaged_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle with one changed byte, a cut one and noise exit 10 with a reason."""
    data = bundle.read_bytes()
    for damaged in (b"x" + data[1:], data[:-1], b"", b"noise", data[:50] + b"x" + data[51:]):
        bundle.write_bytes(damaged)
        assert run(["attest", "verify", str(bundle), "--json"]) == 10
        values = shown(capsys)
        assert values["verified"] is False
        assert values["reasons"]


def test_a_refused_bundle_says_why(
    world: UnsafeTrustWorld, bundle: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under another policy the same bundle is refused with that policy's reason."""
    policy = home / "policy.json"
    nobody = One(UnsafeSoftwarePolicy(()))
    policy.write_text(replace(world.root, evidence=nobody).to_json())
    assert run(["attest", "verify", str(bundle), "--policy", str(policy), "--json"]) == 10
    values = shown(capsys)
    assert (values["verified"], values["reasons"]) == (False, ["unknown_key"])
    assert values["evidence"] == "unsafe_software"


def test_a_production_device_refuses_a_development_root(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile pinned in the settings rules here too."""
    monkeypatch.setenv("LANAI_PROFILE", "production")
    assert run(["attest", "verify", str(bundle), "--json"]) == 10
    assert shown(capsys)["reasons"] == ["profile"]


def test_the_stored_checkpoint_rules(
    world: UnsafeTrustWorld, home: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle that contradicts what this device stored is refused."""
    store = CheckpointStore.of(world.root, home / "state" / "checkpoints")
    store.advance(Checkpoint(origin=world.origin, size=2, root=bytes(32)))
    assert run(["attest", "verify", str(bundle), "--json"]) == 10
    assert shown(capsys)["reasons"] == ["split_view"]


def test_showing_verifies_nothing(
    world: UnsafeTrustWorld, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``show`` says what a bundle claims, and that nothing of it is verified."""
    assert run(["attest", "show", str(bundle), "--json"]) == 0
    values = shown(capsys)
    assert (values["verified"], values["model"]) == (False, "toy")
    bundle.write_bytes(b"noise")
    assert run(["attest", "show", str(bundle), "--json"]) == 10


def test_measuring(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``measure`` prints the digests a release record would name."""
    model = home / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w")
    assert run(["attest", "measure", "--model", str(model), "--json"]) == 0
    values = shown(capsys)
    assert values["software"] == values["measurement"] == measure_software()
    assert values["weights"] == measure_folder(model)
    assert values["verified"] is False


def test_nothing_enrolled(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a trust root nothing is verified: exit 1 with a hint, not 0."""
    world = UnsafeTrustWorld(now=int(time.time()))
    (home / "bundle").write_bytes(world.bundle(b"k" * 1216).serialize())
    assert run(["attest", "verify", str(home / "bundle")]) == 1
    assert "hint: " in capsys.readouterr().err


def test_for_people(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``--json`` the same facts are lines."""
    assert run(["attest", "verify", str(bundle)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (lines["verified"], lines["reasons"]) == ("True", "-")
