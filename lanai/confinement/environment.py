"""An environment with nothing in it, in Python, in C and in /proc/self/environ."""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lanai.confinement.kernel import c_library

__all__ = ["empty_environment"]

STAT: Final = Path("/proc/self/stat")
# proc_pid_stat(5) counts from 1; the two fields before the state hold the program's name.
ENV_START: Final = 50 - 3
ENV_END: Final = 51 - 3


def empty_environment(keep: frozenset[str]) -> bool:
    """Drop every variable but those named; True when no other is left.

        1  overwrite the strings that the process was started with
        2  empty the C library's list, which has what C code added
        3  give back what stays

    What C code has copied before stays in its copies.
    """
    kept = {name: value for name, value in os.environ.items() if name in keep}
    if sys.platform == "linux":
        _overwrite({os.fsencode(name) for name in keep})  # 1
        c_library().clearenv()  # 2
    os.environ.clear()
    os.environ.update(kept)  # 3
    return _names() <= {os.fsencode(name) for name in keep}


def _overwrite(keep: set[bytes]) -> None:
    """Only strings of the block that execve made: others may lie in read-only memory."""
    start, end = _first_block()
    for address, value in _strings():
        if start <= address < end and value.split(b"=", 1)[0] not in keep:
            ctypes.memset(address, 0, len(value))


def _names() -> set[bytes]:
    return {value.split(b"=", 1)[0] for _, value in _strings()}


def _strings() -> Iterator[tuple[int, bytes]]:
    """The C library's list: where each string is, and its bytes."""
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(c_library(), "environ")
    index = 0
    while environ and (address := environ[index]):
        yield address, ctypes.string_at(address)
        index += 1


def _first_block() -> tuple[int, int]:
    """First and past-the-last address; nothing where that cannot be read (a second time)."""
    try:
        # Bytes: a codec is a module, which may be out of view already.
        fields = STAT.read_bytes().rpartition(b")")[2].split()
        return int(fields[ENV_START]), int(fields[ENV_END])
    except (OSError, ValueError, IndexError):
        return 0, 0
