"""``lanai trust``: enrol by hand, look, update from files, and what is refused."""

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloud_node.trust_repository import TrustRepository
from lanai.cli.mount import run
from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld

DAY = 24 * 3600


@dataclass
class Published:
    """A cluster's folder ``tuf``, as a person copied it."""

    tree: Path
    repository: TrustRepository
    root: TrustRoot
    shift: float = 0.0

    @property
    def sha256(self) -> str:
        return hashlib.sha256((self.tree / "1.root.json").read_bytes()).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def published(tmp_path: Path) -> Published:
    root = UnsafeTrustWorld(now=int(time.time())).root
    tree = tmp_path / "tuf"
    repository = TrustRepository(tree, tmp_path / "keys")
    repository.publish(root)
    return Published(tree, repository, root)


def shown(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_enrol_and_show(home, published, capsys) -> None:
    """The folder's newest root is pinned; show says what it says, in words and as JSON."""
    assert run(["trust", "enrol", str(published.tree), "--json"]) == 0
    found = shown(capsys)
    assert found["usable"] is True
    assert found["pinned_sha256"] == published.sha256
    assert found["policy_digest"] == published.root.policy_digest.hex()
    assert found["keys"]["root"]["threshold"] == 2
    assert [found["metadata"][role]["version"] for role in found["metadata"]] == [1, 1, 1, 1]
    assert run(["trust", "show"]) == 0
    text = capsys.readouterr().out
    assert "trust root  usable" in text
    assert "root        version 1, 2 of 3 keys, until" in text
    assert "  unsafe_software\n    keys: " in text


def test_the_expected_root_only(home, published, capsys) -> None:
    """With --sha256 another root enrols nobody (exit 10); the right one does, colons or not."""
    path = str(published.tree / "1.root.json")
    assert run(["trust", "enrol", path, "--sha256", "00" * 32]) == 10
    assert run(["trust", "show"]) == 1
    assert run(["trust", "enrol", path, "--sha256", published.sha256.upper()]) == 0
    assert "hint: compare" not in capsys.readouterr().err


def test_an_enrolment_is_not_overwritten(home, published) -> None:
    """A second one needs --replace (exit 2 without)."""
    command = ["trust", "enrol", str(published.tree)]
    assert [run(command), run(command), run([*command, "--replace"])] == [0, 2, 0]


def test_the_account_comes_along(home, published, tmp_path) -> None:
    """It is checked first and kept in a private file; another file is refused."""
    account = tmp_path / "mine.json"
    account.write_text('{"account": "me"}')
    command = ["trust", "enrol", str(published.tree), "--account", str(account)]
    assert run(command) == 2
    assert not (home / "state" / "trust" / "state.json").exists()
    account.write_text(json.dumps({"account": "me", "credential": "ab" * 32}))
    assert run(command) == 0
    kept = home / "state" / "account.json"
    assert json.loads(kept.read_text())["account"] == "me"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_profile_that_is_not_admitted(home, published, monkeypatch, capsys) -> None:
    """A production device cannot be enrolled with a development root: exit 10, nothing written."""
    monkeypatch.setenv("LANAI_PROFILE", "production")
    assert run(["trust", "enrol", str(published.tree)]) == 10
    monkeypatch.delenv("LANAI_PROFILE")
    assert run(["trust", "enrol", str(published.tree)]) == 0
    capsys.readouterr()
    monkeypatch.setenv("LANAI_PROFILE", "production")
    assert run(["trust", "show", "--json"]) == 0
    found = shown(capsys)
    assert (found["usable"], found["reasons"]) == (False, ["profile"])


def test_update_from_a_folder(home, published, capsys) -> None:
    """Rotations and a new trust root arrive from a copy of the files, without any relay."""
    run(["trust", "enrol", str(published.tree)])
    published.repository.rotate(["root", "timestamp"])
    published.repository.publish(replace(published.root, quorum=1))
    capsys.readouterr()
    assert run(["trust", "update", "--from", str(published.tree), "--json"]) == 0
    captured = capsys.readouterr()
    assert "a new one" in captured.err
    found = json.loads(captured.out)
    assert found["metadata"]["root"]["version"] == 2
    assert found["trust_root"]["quorum"] == 1
    assert found["pinned_sha256"] == published.sha256


def test_a_refused_update(home, published, capsys) -> None:
    """An older timestamp: exit 10, and the device keeps what it has."""
    old = (published.tree / "timestamp.json").read_bytes()
    published.repository.publish(replace(published.root, quorum=1))
    run(["trust", "enrol", str(published.tree)])
    (published.tree / "timestamp.json").write_bytes(old)
    assert run(["trust", "update", "--from", str(published.tree)]) == 10
    assert "version of timestamp went back" in capsys.readouterr().err
    assert run(["trust", "show", "--json"]) == 0
    assert shown(capsys)["trust_root"]["quorum"] == 1


def test_no_relay(home, published, capsys) -> None:
    """An update through a relay that is not there is exit 1 with a hint."""
    run(["trust", "enrol", str(published.tree)])
    assert run(["trust", "update"]) == 1
    assert "hint: " in capsys.readouterr().err


def test_nothing_to_show(home, tmp_path, capsys) -> None:
    """Without an enrolment, and for a folder without root metadata: one line and a hint."""
    for command in (["trust", "show"], ["trust", "update"], ["trust", "enrol", str(tmp_path)]):
        assert run(command) in {1, 2}
        assert "hint: " in capsys.readouterr().err
