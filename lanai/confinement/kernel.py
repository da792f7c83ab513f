"""The kernel's calls that the standard library does not have, through the C library.

Each returns what the kernel returned, or the negative error number: nothing here raises for what a
kernel does not have.
"""

import ctypes
import os
import sys
from enum import Enum
from functools import cache
from pathlib import Path

__all__ = ["Machine", "c_library", "machine", "mlockall", "prctl", "single_threaded", "system_call"]

MAIN_TASKS = Path("/proc/self/task")


class Machine(Enum):
    """Instruction sets whose system call numbers are known: the value is its AUDIT_ARCH."""

    X86_64 = 0xC000003E
    AARCH64 = 0xC00000B7


def machine() -> Machine | None:
    """The machine this process runs on; None where there is no confinement at all."""
    if sys.platform != "linux" or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return None
    known = {"x86_64": Machine.X86_64, "aarch64": Machine.AARCH64}
    return known.get(os.uname().machine)


@cache
def c_library() -> ctypes.CDLL:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: int | bytes | None) -> int:
    """``syscall(2)``. Bytes are passed by address and only read."""
    return _result(c_library().syscall(ctypes.c_long(number), *map(_argument, arguments)))


def prctl(option: int, *arguments: int) -> int:
    """``prctl(2)`` with the unused arguments zero, as newer options demand."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _result(c_library().prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded)))


def mlockall(flags: int) -> int:
    """``mlockall(2)``."""
    return _result(c_library().mlockall(ctypes.c_int(flags)))


def single_threaded() -> bool:
    """Whether no other thread exists, native ones counted. False where that cannot be seen.

    The folder's link count is two and one for each thread; Landlock never refuses to look at it.
    """
    try:
        return MAIN_TASKS.stat().st_nlink == 3
    except OSError:
        return False


def _argument(value: int | bytes | None) -> ctypes.c_long | ctypes.c_char_p:
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)


def _result(value: int) -> int:
    return -ctypes.get_errno() if value < 0 else value
