"""Two processes of one unprivileged user: one with a secret, one that wants it.

    python strangers.py holder protected|open      prints its secret's address, waits
    python strangers.py thief PID ADDRESS          prints what each way to the secret gave

Started as root, each becomes a user without rights first; otherwise it stays who it is.
"""

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from attempts import PTRACE_SEIZE, call, copy_memory, read_memory

from lanai.confinement import forbid_dump
from lanai.confinement.kernel import prctl

NOBODY = 65534
PR_SET_DUMPABLE = 4
SECRET = b"0123456789abcdef"


def become_nobody() -> None:
    """Changing the user closes a process; it is opened again, as one started by that user is."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        prctl(PR_SET_DUMPABLE, 1)


def hold(how: str) -> None:
    secret = ctypes.create_string_buffer(SECRET, len(SECRET))
    if how == "protected" and not forbid_dump():
        raise SystemExit("not granted")
    print(ctypes.addressof(secret), flush=True)
    sys.stdin.read()


def steal(pid: int, address: int) -> dict[str, str]:
    ways: dict[str, Callable[[], object]] = {
        "memory file": lambda: read_memory(pid, address) == SECRET or fail(),
        "copied memory": lambda: copy_memory(pid, address) == SECRET or fail(),
        "environment": lambda: Path(f"/proc/{pid}/environ").read_bytes().index(b"HELD="),
        "mappings": Path(f"/proc/{pid}/maps").read_bytes,
        "descriptors": lambda: os.listdir(f"/proc/{pid}/fd"),
        "tracing": lambda: call("ptrace", PTRACE_SEIZE, pid, 0, 0),
    }
    return {name: outcome(way) for name, way in ways.items()}


def fail() -> None:
    raise ValueError("read, and not the secret")


def outcome(way: Callable[[], object]) -> str:
    try:
        way()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "had"


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    become_nobody()
    if role == "holder":
        hold(*rest)
    else:
        print(json.dumps(steal(*map(int, rest))))
