"""Searches the memory of one running process, through ``/proc/PID/mem``, without stopping it.

| mapping | searched |
|---|---|
| private, of no file: heap, stack, buffers | every page that exists (``/proc/PID/pagemap``) |
| private, of a file that has not changed since the start | pages the process wrote to |
| private, of any other file | every page |
| shared, of a file that has not changed since and cannot be written through it | not: see `files` |
| shared with the kernel alone (io_uring) | every page |
| shared, of anything else | as an object of its own, once for all processes: ``shared_objects`` |
| of a device | not: its content is the device's |

A page that is neither there nor swapped out holds zeroes or an unchanged file's bytes. What could
not be read although it exists is an ``AuditError``.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud_node.audit.findings import Findings
from cloud_node.audit.search import Searcher
from lanai.errors import AuditError

__all__ = ["Mapping", "ProcessEnded", "mappings", "search_memory"]

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
PIECE: Final = 4 << 20
PRESENT: Final = np.uint64(1 << 63)
SWAPPED: Final = np.uint64(1 << 62)
OF_FILE: Final = np.uint64(1 << 61)
"""A page of the page cache: for a private mapping, one that was not written to."""
KERNELS_OWN: Final = ("[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]")
_LINE: Final = re.compile(
    r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)"
)


class ProcessEnded(AuditError):
    """The process is gone: its memory is the kernel's again."""

    def __init__(self) -> None:
        super().__init__("it ended while it was searched")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One line of ``/proc/PID/maps``."""

    start: int
    end: int
    shared: bool
    writable: bool
    device: str
    inode: int
    name: str

    @property
    def in_memory_only(self) -> bool:
        """Shared memory, a memfd, or a file that has lost its name."""
        return self.name.startswith(("/dev/shm/", "/memfd:", "/SYSV")) or self.deleted  # noqa: S108

    @property
    def deleted(self) -> bool:
        return self.name.endswith(" (deleted)")

    @property
    def of_kernel(self) -> bool:
        """Shared with the kernel alone, like the rings of io_uring: the process's own, to us."""
        return self.name.startswith("anon_inode:")

    @property
    def of_device(self) -> bool:
        return self.name.startswith("/dev/") and not self.in_memory_only

    def file_as_before(self, since: float) -> bool:
        """Whether it is of a file on disk that has not changed since (Unix seconds)."""
        if not self.inode or self.in_memory_only:
            return False
        with suppress(OSError):
            found = os.stat(self.name)
            return found.st_ino == self.inode and max(found.st_ctime, found.st_mtime) < since
        return False


def mappings(pid: int) -> list[Mapping]:
    """Every mapping of a process. Raises ``ProcessEnded``, ``AuditError``."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_bytes().decode("utf-8", "replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessEnded() from None
    except OSError as error:
        raise AuditError(f"its mappings cannot be read ({error.strerror})") from None
    if not lines:
        raise ProcessEnded()
    return [found for line in lines if (found := _parse(line)).name not in KERNELS_OWN]


def search_memory(pid: int, searcher: Searcher, found: Findings, *, since: float) -> None:
    """Search all of a process's private memory.

    ``since`` (Unix seconds): before the first mark was made. Raises ``ProcessEnded``, and
    ``AuditError`` when a part cannot be read.
    """
    before = found.bytes_searched
    with _opened(pid, "mem") as memory, _opened(pid, "pagemap") as pages:
        for mapping in mappings(pid):
            if mapping.of_device or (mapping.shared and not mapping.of_kernel):
                continue
            where = mapping.name or "[anonymous]"
            for start, end in _runs(pages.number, mapping, since):
                pieces = _pieces(memory.number, pages.number, start, end, searcher.overlap)
                for address, data in pieces:
                    found.take(searcher, data, at=address, where=where)
    if found.bytes_searched == before:
        raise ProcessEnded()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Descriptor:
    number: int

    def __enter__(self) -> "_Descriptor":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.number)


def _opened(pid: int, name: str) -> _Descriptor:
    try:
        return _Descriptor(number=os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessEnded() from None
    except OSError as error:
        raise AuditError(
            f"its {name} cannot be read ({error.strerror})",
            hint="run as root, with CAP_SYS_PTRACE",
        ) from None


def _runs(pages: int, mapping: Mapping, since: float) -> Iterator[tuple[int, int]]:
    """Stretches of addresses whose pages exist and may hold what the process wrote."""
    count = (mapping.end - mapping.start) // PAGE
    as_before = mapping.file_as_before(since)
    for begin in range(0, count, PIECE):
        size = min(PIECE, count - begin)
        flags = _flags(pages, mapping.start + begin * PAGE, size)
        wanted = (flags & (PRESENT | SWAPPED)) != 0
        if as_before:
            wanted &= (flags & OF_FILE) == 0
        elif mapping.inode:
            wanted[:] = True  # not mapped yet is not unwritten, for a file that may have changed
        edges = np.flatnonzero(np.diff(np.concatenate(([0], wanted.view(np.int8), [0]))))
        base = mapping.start + begin * PAGE
        for first, last in edges.reshape(-1, 2).tolist():
            yield base + first * PAGE, base + last * PAGE


def _flags(pages: int, address: int, count: int) -> NDArray[np.uint64]:
    """The page map's entries of ``count`` pages. Raises ``ProcessEnded``."""
    raw = os.pread(pages, 8 * count, 8 * (address // PAGE))
    if len(raw) < 8 * count:
        raise ProcessEnded()
    return np.frombuffer(raw, dtype="<u8")


def _pieces(
    memory: int, pages: int, start: int, end: int, overlap: int
) -> Iterator[tuple[int, memoryview]]:
    """``(address, bytes)`` from ``start`` to ``end``; neighbours share ``overlap`` bytes.

    A page that cannot be read must have been given back meanwhile. Raises ``AuditError``.
    """
    buffer = memoryview(bytearray(overlap + PIECE))
    kept, at = 0, start
    while at < end:
        try:
            got = os.preadv(memory, [buffer[kept : kept + min(PIECE, end - at)]], at)
        except OSError:
            got = 0
        if not got:
            if int(_flags(pages, at, 1)[0]) & int(PRESENT | SWAPPED):
                raise AuditError("a page that exists cannot be read")
            kept, at = 0, at + PAGE
            continue
        filled = kept + got
        yield at - kept, buffer[:filled]
        at += got
        kept = min(overlap, filled)
        buffer[:kept] = bytes(buffer[filled - kept : filled])


def _parse(line: str) -> Mapping:
    found = _LINE.fullmatch(line)
    if found is None:
        raise AuditError("a line of its mappings is not understood")
    start, end, permissions, device, inode, name = found.groups()
    return Mapping(
        start=int(start, 16),
        end=int(end, 16),
        shared=permissions[3] == "s",
        writable=permissions[1] == "w",
        device=device,
        inode=int(inode),
        name=name,
    )
