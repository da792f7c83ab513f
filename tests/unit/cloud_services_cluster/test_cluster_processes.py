"""Processes of a cluster: known by pid and start time, ended with everything below them."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_node.cluster.processes import ProcessTable, end, is_alive, spawn
from lanai.errors import ConfigError

SLEEPER = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]).wait()"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def start(tmp_path: Path):
    entries = []

    def run(code: str):
        entry, output = spawn("part", [sys.executable, "-c", code], log=tmp_path / "log")
        entries.append(entry)
        return entry, output

    yield run
    for entry in entries:
        end(entry, grace_s=0)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str | None:
    """Its letter in /proc; None where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # gone, also between the opening of its file and the reading
        return None


def test_a_pid_used_again_is_not_ours(start) -> None:
    """Another start time under the same pid is another process: it is not alive to us."""
    entry, output = start(SLEEPER)
    os.close(output)
    assert is_alive(entry)
    stranger = replace(entry, started=entry.started + 1)
    assert not is_alive(stranger)
    end(stranger, grace_s=0)
    assert is_alive(entry)


def test_ending_takes_the_children_along(start) -> None:
    """What a part started ends with it."""
    entry, output = start(PARENT)
    os.close(output)
    deadline = time.monotonic() + 60
    while not children(entry.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    [child] = children(entry.pid)
    end(entry, grace_s=0.2)
    assert not is_alive(entry)
    assert state(child) in (None, "Z")


def test_a_part_that_ignores_sigterm_is_killed(start) -> None:
    """After its grace a process is ended all the same."""
    entry, output = start(STUBBORN)
    assert os.read(output, 10) == b"up\n"
    os.close(output)
    end(entry, grace_s=0.1)
    assert not is_alive(entry)


def test_nothing_of_the_shell_is_passed_on(start, monkeypatch) -> None:
    """Credentials in the operator's environment do not reach a part."""
    monkeypatch.setenv("CLOUD_SECRET_KEY", "canary")
    entry, output = start("import os; print('canary' in str(os.environ), flush=True)")
    assert os.read(output, 10) == b"False\n"
    os.close(output)
    end(entry, grace_s=1)


def test_the_table_survives_and_knows_its_boot(start, tmp_path) -> None:
    """Entries are read back in order, replaced by role, and void after a reboot."""
    entry, output = start(SLEEPER)
    os.close(output)
    table = ProcessTable(tmp_path / "processes.json")
    table.put(entry)
    table.put(replace(entry, role="other"))
    table.put(replace(entry, address="127.0.0.1:1"))
    assert [e.role for e in table.entries()] == ["other", "part"]
    assert table.entries()[1].address == "127.0.0.1:1"
    text = (tmp_path / "processes.json").read_text()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "processes.json").write_text(text.replace(boot, "another boot"))
    assert table.entries() == []
    (tmp_path / "processes.json").write_text("{")
    with pytest.raises(ConfigError):
        table.entries()
