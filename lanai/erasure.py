"""Freed memory is overwritten at once, so that a secret does not outlive its use in the heap.

Neither Python nor most libraries can wipe what they let go of: ``bytes`` and ``str`` cannot be
changed, and copies of them are made in passing. The C library's allocator can: glibc's ``free``
fills what it takes back when ``M_PERTURB`` is set (mallopt(3)). Python's own allocator must be out
of the way for that, so a process that holds secrets is started with ``ENVIRONMENT``. What was
copied into registers, into the kernel's buffers or into a page that was swapped out is beyond it.
"""

import ctypes
import os
import sys
from typing import Final

__all__ = ["ENVIRONMENT", "overwrite_freed_memory", "return_freed_memory"]

ENVIRONMENT: Final = {
    "PYTHONMALLOC": "malloc",
    # glibc's per-thread cache keeps what it takes back as it is.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
"""What a process must be started with: all objects then come from, and go to, the filling heap."""
_M_PERTURB: Final = -6  # <malloc.h>
_FILL: Final = 0xA5


def overwrite_freed_memory() -> bool:
    """Have it so from now on; False where the C library or the start does not allow it.

    It costs one write of each freed byte, and of each allocated one.
    """
    started_so = all(os.environ.get(name) == value for name, value in ENVIRONMENT.items())
    if sys.platform != "linux" or not started_so:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Another C library than glibc has no such parameter.
    return mallopt is not None and bool(mallopt(_M_PERTURB, _FILL))


def return_freed_memory() -> None:
    """Give freed pages back to the kernel, which gives them to nobody unwiped (malloc_trim(3)).

    What is left of freed memory afterwards is less than a page at a place. Elsewhere than under
    glibc this does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
