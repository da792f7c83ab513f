"""Freed memory is overwritten at once, so that a secret does not outlive its use in the heap.

Neither Python nor most libraries can wipe what they let go of: ``bytes`` and ``str`` cannot be
changed, and copies of them are made in passing. The C library's allocator can: glibc's ``free``
fills what it takes back when ``M_PERTURB`` is set (mallopt(3)). Python's own allocator must be out
of the way for that, so a process that holds secrets is started with ``ENVIRONMENT``. What was
copied into registers, into the kernel's buffers or into a page that was swapped out is beyond it.
"""

import ctypes
import os
import re
import resource
import sys
from typing import Final

__all__ = ["ENVIRONMENT", "FreedMemory", "overwrite_freed_memory"]

ENVIRONMENT: Final = {
    "PYTHONMALLOC": "malloc",
    # glibc's per-thread cache keeps what it takes back as it is.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
"""What a process must be started with: all objects then come from, and go to, the filling heap."""
_M_PERTURB: Final = -6  # <malloc.h>
_FILL: Final = 0xA5
_MADV_POPULATE_WRITE: Final = 23  # <linux/mman.h>
_LOWEST_BIT: Final = bytes(value & 1 for value in range(256))  # mincore(2) leaves the others open
PAGE: Final = resource.getpagesize()
READY_BYTES: Final = 16 << 20
"""Of a heap's freed pages so many are there again: a prompt takes half of it."""


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


class FreedMemory:
    """What this process frees of its heap, above where that ends when this is made (glibc).

    Elsewhere than under glibc it does nothing.
    """

    def __init__(self) -> None:
        self._library = _glibc()
        self._start = -(-self._end() // PAGE) * PAGE

    def renew(self) -> None:
        """Let the kernel wipe freed pages, and have empty ones in their places.

        Less than a page at a place is left of what was freed. The next to allocate is spared the
        page faults: 2,000 for a prompt, of some microseconds each on a virtual machine. What a
        burst took beyond ``READY_BYTES`` is the system's again.

        1. Give whole freed pages back (malloc_trim(3)): the kernel wipes them.
        2. Grow the heap to where it ended.
        3. Have the first of the pages that went filled (``MADV_POPULATE_WRITE``, Linux 5.14; an
           older kernel fills them when they are touched).
        """
        if self._library is None:
            return
        before, end = self._resident(), self._end()
        # 1.
        self._library.malloc_trim(0)
        # 2.
        if (shrunk := end - self._end()) > PAGE:
            self._library.free(self._library.malloc(shrunk - PAGE))
        # 3.
        after = self._resident()
        gone = int.from_bytes(before[: len(after)], "little") & ~int.from_bytes(after, "little")
        left = READY_BYTES
        for run in re.finditer(b"\x01+", gone.to_bytes(len(after), "little")):
            place, size = self._start + run.start() * PAGE, min(len(run[0]) * PAGE, left)
            self._library.madvise(place, size, _MADV_POPULATE_WRITE)
            left -= size
            if not left:
                break

    def _end(self) -> int:
        return self._library.sbrk(0) or 0 if self._library else 0

    def _resident(self) -> bytearray:
        """One byte for each page of the heap: 1 when it is in memory."""
        size = max(self._end() - self._start, 0) // PAGE
        pages = bytearray(size)
        if size and self._library:
            there = (ctypes.c_ubyte * size).from_buffer(pages)
            self._library.mincore(self._start, size * PAGE, there)
        return pages.translate(_LOWEST_BIT)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "malloc_trim"):
        return None
    address, size = ctypes.c_void_p, ctypes.c_size_t
    library.sbrk.restype, library.sbrk.argtypes = address, [ctypes.c_ssize_t]
    library.malloc.restype, library.malloc.argtypes = address, [size]
    library.free.restype, library.free.argtypes = None, [address]
    library.mincore.argtypes = [address, size, address]
    library.madvise.argtypes = [address, size, ctypes.c_int]
    return library
