"""Memory that nobody else reads and that reaches no disk."""

import resource
import sys
from pathlib import Path
from typing import Final

from lanai.confinement.kernel import mlockall, prctl
from lanai.confinement.protection import Protection

__all__ = ["SWAPS", "forbid_core", "forbid_dump", "lock_memory"]

SWAPS: Final = Path("/proc/swaps")
"""Read by `lock_memory`: a process whose children confine themselves again keeps it in view."""

PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
# <asm-generic/mman.h>: what is mapped now and later, each page once it is touched. Without
# ONFAULT every fork would copy, and every reserved stack would be filled.
MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4


def forbid_dump() -> bool:
    """No core dump, no debugger, /proc/PID/{mem,environ,maps} closed to this user (prctl(2))."""
    if sys.platform != "linux":
        return False
    prctl(PR_SET_DUMPABLE, 0)
    return prctl(PR_GET_DUMPABLE) == 0


def forbid_core() -> bool:
    """Cores of length zero, and no way to raise that without CAP_SYS_RESOURCE."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def lock_memory() -> Protection | None:
    """`LOCKED_MEMORY`, or `NO_SWAP` where that is all that can be said, or None.

    A forked child has none of its parent's locks and calls this again. Memory is locked only
    where the limit is gone: below a limit, the allocation that reaches it would fail.
    """
    if sys.platform != "linux":
        return None
    if _lift_limit() and mlockall(MCL_CURRENT_FUTURE_ONFAULT) == 0:
        return Protection.LOCKED_MEMORY
    return Protection.NO_SWAP if _no_swap() else None


def _lift_limit() -> bool:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (ValueError, OSError):
        return False
    return True


def _no_swap() -> bool:
    """One heading and no line below it; a list that cannot be read may have any."""
    try:
        return len(SWAPS.read_bytes().splitlines()) == 1
    except OSError:
        return False
