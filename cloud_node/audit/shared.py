"""Searches what processes hold in common or without a name: shared memory, memfds, deleted files.

Each object is searched once, however many processes have it mapped or open, and through the
kernel's links to it (``/proc/PID/map_files``, ``/proc/PID/fd``): reading those fills no hole.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from cloud_node.audit.files import search_descriptor
from cloud_node.audit.findings import Findings
from cloud_node.audit.memory import Mapping, ProcessEnded, mappings
from cloud_node.audit.search import Searcher
from lanai.errors import AuditError

__all__ = ["search_shared", "unattached_segments"]

SEGMENTS: Final = Path("/proc/sysvipc/shm")


def search_shared(
    pids: Iterable[int], searcher: Searcher, found: Findings, *, since: float
) -> None:
    """Search all that ``pids`` share or have open without a name.

    Raises ``AuditError`` when one cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    for pid in pids:
        for name, link in _links(pid, since):
            descriptor = _open(link)
            if descriptor is None:
                continue
            try:
                status = os.fstat(descriptor)
                key = status.st_dev, status.st_ino
                if key not in seen and stat.S_ISREG(status.st_mode):
                    seen.add(key)
                    search_descriptor(descriptor, searcher, found, where=name)
            finally:
                os.close(descriptor)


def unattached_segments(since: float) -> int:
    """How many System V segments made since then no process has attached: no memory shows them."""
    lines = SEGMENTS.read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(int(row[6]) == 0 and int(row[13]) >= int(since) for row in rows)


def _links(pid: int, since: float) -> Iterator[tuple[str, Path]]:
    """Names and links of one process's shared mappings and nameless open files."""
    with suppress(ProcessEnded):
        for each in mappings(pid):
            if each.shared and not (each.of_device or each.of_kernel) and _may_hold(each, since):
                yield each.name, Path(f"/proc/{pid}/map_files/{each.start:x}-{each.end:x}")
    folder = Path(f"/proc/{pid}/fd")
    with suppress(FileNotFoundError, ProcessLookupError):
        for link in folder.iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                target = os.readlink(link)
                if target.endswith(" (deleted)"):
                    yield target, link


def _may_hold(mapping: Mapping, since: float) -> bool:
    # Writing through a mapping of shared memory does not touch its times.
    return mapping.writable or not mapping.file_as_before(since)


def _open(link: Path) -> int | None:
    """None when it is gone, or nothing that can be opened: a socket, an event descriptor."""
    try:
        return os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        if link.parent.name == "fd":
            return None
        raise AuditError(f"shared mapping {link.name}: {error.strerror}") from None
