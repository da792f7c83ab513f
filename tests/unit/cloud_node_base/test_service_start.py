"""How a service process reads its configuration, says that it is ready, and ends."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_node.node import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint, load_config
from cloud_node.store.config import StoreConfig
from cloud_node.store.roles import Passwords, Role
from lanai.errors import ConfigError

NODE: dict[str, Any] = {
    "name": "node-0",
    "profile": "development",
    "store_url": "unix:///x",
    "log": {"address": "127.0.0.1:1", "certificate": "PEM"},
    "model_folder": "/models/x",
    "model_name": "x",
    "context_tokens": 512,
    "threads": 1,
    "evidence": {"unsafe_software_key": "/key"},
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:  # short: a socket lives below it
        yield Path(name)


def written(folder: Path, value: Any) -> Path:
    path = folder / "config.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_configuration_is_read_back_as_written(folder: Path) -> None:
    """What is written is what is read, in a file of this user only."""
    evidence = EvidenceConfig(unsafe_software_key=Path("/key"))
    config = NodeConfig(**{**NODE, "log": PinnedEndpoint(**NODE["log"]), "evidence": evidence})
    path = config.write(folder / "node.json")
    assert load_config(NodeConfig, path) == config
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"threads": "1"},
        {"threads": 0},
        {"log": {"address": "nowhere", "certificate": "PEM"}},
        {"log": {"address": "127.0.0.1:1", "certificate": "PEM", "more": 1}},
        {"name": "Node 0"},
        {"key_lifetime_s": 25 * 3600},
        {"profile": "staging"},
        {"profile": "production"},
        {"evidence": {"sev_snp": {"ark": "/ark.der"}}},
        {"evidence": {"tdx": {}}},
        {"golden": {"sev_snp": {"measurement": 1}}},
    ],
)
def test_a_wrong_configuration_is_refused(folder: Path, change: dict[str, Any]) -> None:
    """Unknown keys, wrong types, values out of range and contradictions name the key."""
    with pytest.raises(ConfigError):
        load_config(NodeConfig, written(folder, NODE | change))


def test_a_configuration_error_shows_no_value(folder: Path) -> None:
    """Configurations hold credentials: an error names the key alone."""
    with pytest.raises(ConfigError) as wrong:
        load_config(NodeConfig, written(folder, NODE | {"store_url": ["secret-word"]}))
    assert "store_url" in str(wrong.value)
    assert "secret-word" not in str(wrong.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_object_is_refused(folder: Path, text: str) -> None:
    """A damaged file is a configuration error."""
    with pytest.raises(ConfigError):
        load_config(NodeConfig, written(folder, text))
    with pytest.raises(ConfigError):
        load_config(NodeConfig, folder / "absent.json")


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cloud_node.store", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def store_config(folder: Path) -> Path:
    config = StoreConfig(
        folder=str(folder / "store"),
        socket=str(folder / "s.sock"),
        passwords=dict(Passwords.generate().of),
    )
    return config.write(folder / "store.json")


def test_a_service_says_one_line_and_ends_on_sigterm(folder: Path, store_config: Path) -> None:
    """One ready line, then standard output is closed; SIGTERM ends it with 0 and all it owns."""
    with start("--config", str(store_config)) as process:
        ready = json.loads(process.stdout.readline() if process.stdout else "")
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert ready == {"ready": True, "address": str(folder / "s.sock")}
    assert (process.returncode, rest) == (0, "")
    assert [json.loads(line)["event"] for line in errors.splitlines()][-1] == "stopped"
    assert not (folder / "s.sock").exists()


def test_a_killed_service_takes_its_server_along(folder: Path, store_config: Path) -> None:
    """After kill -9 of the service its server is gone too: the socket refuses."""
    with start("--config", str(store_config)) as process:
        if process.stdout:
            process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.communicate(timeout=60)
    assert len(children) == 1
    wait_gone(int(children[0]))


def test_a_service_ends_with_the_parent_it_was_given(store_config: Path) -> None:
    """`--parent` of a process that is not the parent ends the service at once."""
    with start("--config", str(store_config), "--parent", "1") as process:
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGKILL, "")


def test_a_bad_start_is_told_in_words(folder: Path) -> None:
    """Exit code 2, one line for a person and one event; nothing on standard output."""
    with start("--config", str(written(folder, {"folder": "x"}))) as process:
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert errors.startswith("lanai: ")
    assert json.loads(errors.splitlines()[-1])["error"] == "ConfigError"


def test_every_role_needs_a_password(folder: Path) -> None:
    """A store without a password for a role does not start."""
    with pytest.raises(ConfigError):
        load_config(
            StoreConfig,
            written(folder, {"folder": "x", "socket": "y", "passwords": {Role.NODE: "p"}}),
        )


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("the process is still there")
