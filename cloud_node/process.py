"""Processes that end with the one that started them, on every path, kill -9 included.

Run as a module it is a shim: `python -m cloud_node.process PARENT PROGRAM ARGUMENT…` ties itself to
the parent and then becomes PROGRAM, for programs that cannot tie themselves.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lanai.errors import LanaiError, UsageError

__all__ = ["die_with_parent", "end_process", "tied_command"]

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>; survives execve of an ordinary program


def die_with_parent(parent: int, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send ``by`` to this process when ``parent`` ends. Linux only.

    The kernel watches the thread that forked, so a parent starts such children from a thread that
    lives as long as itself. If the parent is gone already, this process ends here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(by), 0, 0, 0) != 0:
        raise LanaiError(f"prctl(PR_SET_PDEATHSIG) failed, errno {ctypes.get_errno()}")
    if os.getppid() != parent:  # it ended between fork and prctl
        os.kill(os.getpid(), by)


def tied_command(program: Sequence[str]) -> list[str]:
    """The argument list that runs ``program`` so that it ends with the calling process."""
    return [sys.executable, "-P", "-m", "cloud_node.process", str(os.getpid()), *program]


def end_process(process: "subprocess.Popen[Any]", *, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after ``grace_s`` seconds; reaps it. Idempotent."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(arguments: Sequence[str]) -> None:
    """The shim: tie, then become the program."""
    if len(arguments) < 2 or not arguments[0].isdecimal():
        raise UsageError("usage: python -m cloud_node.process PARENT PROGRAM ARGUMENT...")
    die_with_parent(int(arguments[0]))
    os.execv(arguments[1], list(arguments[1:]))  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
