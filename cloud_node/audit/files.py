"""Searches files: those of given folders, and every one that changed since the audit began.

The walk covers every mounted file system but the kernel's own (``/proc``, ``/sys`` and their like).
A file counts as changed by its change time, which no program can set. Names are searched as well.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_node.audit.findings import Findings
from cloud_node.audit.search import ALIGNMENT, Searcher
from lanai.errors import AuditError

__all__ = ["FileTime", "changed_files", "files_below", "search_descriptor", "search_file"]

PIECE: Final = 4 << 20
GRANULE_S: Final = 2.0
"""File systems keep change times this coarsely at worst, or a little behind the clock."""
KERNELS_OWN: Final = frozenset(
    {
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts"),
        *("devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore"),
        *("securityfs", "selinuxfs", "sysfs", "tracefs"),
    }
)
FileTime = float
"""Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    folder: str
    kind: str


def changed_files(
    since: FileTime, *, skip: frozenset[Path], below: Path = Path("/")
) -> Iterator[Path]:
    """Every regular file ``below`` that changed at or after ``since``, outside of ``skip``.

    Raises ``AuditError`` for a folder that cannot be listed.
    """
    left_out = {str(path) for path in skip}
    left_out |= {each.folder for each in _mounts() if each.kind in KERNELS_OWN}
    # A file system mounted inside one of the kernel's own, like /dev/shm in /dev, is still walked.
    inside = {each.folder for each in _mounts() if each.kind not in KERNELS_OWN}
    tops = {top for top in inside if Path(top).is_relative_to(below)} | {str(below)}
    for top in sorted(tops - left_out):
        for entry in _walk(top, left_out | (inside - {top})):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise AuditError(f"{entry.path} cannot be read ({error.strerror})") from None
            if stat.S_ISREG(found.st_mode) and _changed(found) >= since - GRANULE_S:
                yield Path(entry.path)


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below ``folder``; none when there is no such folder."""
    for entry in _walk(str(folder), frozenset()):
        if entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def search_file(path: Path, searcher: Searcher, found: Findings) -> None:
    """Search a file and its name; one that is gone meanwhile has nothing.

    Raises ``AuditError`` when it cannot be read.
    """
    found.take(searcher, os.fsencode(path), at=0, where=f"the name of {path.parent}/…")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AuditError(f"{path} cannot be read ({error.strerror})") from None
    try:
        search_descriptor(descriptor, searcher, found, where=str(path))
    finally:
        os.close(descriptor)


def search_descriptor(descriptor: int, searcher: Searcher, found: Findings, *, where: str) -> None:
    """Search all that an open file holds; holes are left out. Raises ``AuditError``."""
    step = PIECE - searcher.overlap
    try:
        for start, end in _data(descriptor):
            for at in range(start, end, step):
                data = os.pread(descriptor, min(PIECE, end - at), at)
                found.take(searcher, data, at=at, where=where)
    except OSError as error:
        raise AuditError(f"{where} cannot be read ({error.strerror})") from None


def _data(descriptor: int) -> Iterator[tuple[int, int]]:
    """The stretches of a file that are stored, from multiples of ``ALIGNMENT``."""
    size, at = os.fstat(descriptor).st_size, 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end; EINVAL: the file system knows no holes
            if at == 0 and not _knows_holes(descriptor):
                yield 0, size
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start // ALIGNMENT * ALIGNMENT, end
        at = end


def _knows_holes(descriptor: int) -> bool:
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) >= 0
    except OSError:
        return False


def _changed(found: os.stat_result) -> FileTime:
    return max(found.st_ctime, found.st_mtime)


def _walk(top: str, left_out: frozenset[str] | set[str]) -> Iterator[os.DirEntry[str]]:
    """Entries below ``top`` that are no folders. Raises ``AuditError``."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry
                    elif entry.path not in left_out:
                        folders.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone meanwhile
        except OSError as error:
            raise AuditError(f"{folder} cannot be listed ({error.strerror})") from None


def _mounts() -> list[_Mount]:
    """What is mounted where (`man 5 proc`, mountinfo): octal escapes in folders' names undone."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        folder = before.split()[4].decode("unicode_escape").encode("latin-1")
        found.append(_Mount(folder=os.fsdecode(folder), kind=after.split()[0].decode()))
    return found
