"""Processes of a cluster: started apart from the terminal, known by pid and start time, ended.

A pid alone may belong to somebody else by the time it is used. A process is ours while its pid
still has the start time (/proc/PID/stat, field 22) that was written down, in the same boot.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cloud_node.process_user import ProcessUser, process_environment, spawn_options
from lanai.errors import CloudUnavailable, ConfigError

__all__ = ["ProcessEntry", "ProcessTable", "end", "is_alive", "rss_bytes", "spawn", "write_private"]

POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEntry:
    """One started process. ``started`` is in clock ticks since boot; ``address`` as it said."""

    role: str
    pid: int
    started: int
    address: str = ""


class ProcessTable:
    """The entries of one cluster in a file, in the order they were started."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[ProcessEntry]:
        """Every entry of this boot; none when the file is missing. Raises ``ConfigError``."""
        try:
            value = json.loads(self._path.read_text(encoding="utf-8"))
            if value["boot"] != _boot_id():
                return []
            return [ProcessEntry(**entry) for entry in value["processes"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"cannot read {self._path} ({type(error).__name__})") from None

    def put(self, entry: ProcessEntry) -> None:
        """Add ``entry``, or replace the one of its role."""
        others = [item for item in self.entries() if item.role != entry.role]
        self._write([*others, entry])

    def drop(self, role: str) -> None:
        """Forget the entry of ``role``."""
        self._write([item for item in self.entries() if item.role != role])

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write(self, entries: Sequence[ProcessEntry]) -> None:
        value = {"boot": _boot_id(), "processes": [asdict(entry) for entry in entries]}
        write_private(self._path, json.dumps(value, indent=1))


def spawn(
    role: str, arguments: Sequence[str], *, log: Path, user: ProcessUser | None = None
) -> tuple[ProcessEntry, int]:
    """Start ``arguments`` in a session of its own; return its entry and the read end of its stdout.

    It runs as ``user``; None: as we do. Standard error is appended to ``log``, which is that
    user's. A signal to our terminal does not reach it. Raises ``CloudUnavailable``.
    """
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    reading, writing = os.pipe()
    try:
        if user is not None:
            os.fchown(errors, user.uid, user.uid)
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=errors,
            env=process_environment(user),
            cwd=user.home if user else None,
            start_new_session=True,
            **spawn_options(user),
        )
    except OSError as error:
        os.close(reading)
        raise CloudUnavailable(f"{role} cannot be started ({error.strerror})") from None
    finally:
        os.close(writing)
        os.close(errors)
    # It is to live on without us: `is_alive` reaps it while we are its parent.
    process.returncode = 0
    started, _ = _stat(process.pid) or (0, "")
    return ProcessEntry(role=role, pid=process.pid, started=started), reading


def is_alive(entry: ProcessEntry) -> bool:
    """Whether that very process still runs. Reaps it when it was our child."""
    with suppress(ChildProcessError):
        os.waitpid(entry.pid, os.WNOHANG)
    return (found := _stat(entry.pid)) is not None and found == (entry.started, found[1])


def end(entry: ProcessEntry, *, grace_s: float) -> None:
    """SIGTERM to the process, SIGKILL to what is left of its session after ``grace_s`` seconds.

    Returns when none of them is left. An entry whose process is gone is left alone, apart from
    members of its session, which no other process can have opened meanwhile.
    """
    if is_alive(entry):
        _signal(entry.pid, signal.SIGTERM)
    if not _wait_gone(entry, grace_s):
        for pid in _session(entry):
            _signal(pid, signal.SIGKILL)
        _wait_gone(entry, 5.0)


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` (mode 0600) as a whole: a reader sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _wait_gone(entry: ProcessEntry, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(entry) or any(_session(entry)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _session(entry: ProcessEntry) -> Iterator[int]:
    """Running processes of the session that ``entry`` opened."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        found = _stat(int(folder.name))
        if found and found[0] >= entry.started and found[1] == str(entry.pid):
            yield int(folder.name)


def _stat(pid: int) -> tuple[int, str] | None:
    """Start time (ticks) and session id of a running process; zombies have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    # The name in parentheses may hold anything, so fields are counted from its end.
    values = text.rpartition(")")[2].split()
    if values[0] in "ZX":
        return None
    return int(values[19]), values[3]


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
