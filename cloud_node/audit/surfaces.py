"""Every surface of a cluster, searched one after the other.

1. Folders of the cluster: its own, its telemetry, the store's (where a dump would lie), Ray's.
2. Every other file of this host that changed since the first mark was made.
3. Shared memory, memfds, files without a name.
4. Command lines and environments.
5. The memory of every process of the cluster; of those that were started meanwhile, too.

A surface that could not be read whole has an ``error``, whatever its count says.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cloud_node.audit.files import changed_files, files_below, search_file
from cloud_node.audit.findings import Findings
from cloud_node.audit.memory import ProcessEnded, search_memory
from cloud_node.audit.processes import ClusterProcess, cluster_processes, missing_roles
from cloud_node.audit.search import Searcher
from cloud_node.audit.shared import search_shared, unattached_segments
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.raycluster import RayHandle
from cloud_node.service import load_config
from lanai.errors import AuditError

__all__ = ["Ground", "Surface", "search_surfaces"]

ROUNDS: Final = 4
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """The result for one surface."""

    name: str
    bytes_searched: int
    hits: int
    places: Sequence[dict[str, Any]] = ()
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "name": self.name,
            "bytes_searched": self.bytes_searched,
            "hits": self.hits,
            "places": list(self.places),
        }
        return value if self.error is None else value | {"error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is to be searched. ``since`` (Unix seconds): before the first mark was made."""

    layout: ClusterLayout
    since: float
    below: Path = Path("/")
    """Where changed files are looked for; tests narrow it."""
    also: Sequence[ClusterProcess] = field(default=())
    """Processes that are searched beside the cluster's own."""

    def processes(self) -> list[ClusterProcess]:
        return [*cluster_processes(self.layout), *self.also]


def search_surfaces(
    ground: Ground, searcher: Searcher, *, note: Callable[[str], None] = lambda name: None
) -> list[Surface]:
    """The plan above. Blocks. ``note`` hears each surface's name when it is begun."""
    surfaces: list[Surface] = []

    def search(name: str, work: Callable[[Findings], None]) -> None:
        note(name)
        surfaces.append(_surface(name, work))

    # 1.
    folders = _folders(ground.layout)
    for name, folder in folders.items():
        others = {other for other in folders.values() if other != folder}
        search(name, lambda found, f=folder, o=others: _below(f, o, searcher, found))  # type: ignore[misc]
    # 2.
    skip = frozenset({*folders.values(), SHARED_MEMORY})
    search("changed files", lambda found: _changed(ground, skip, searcher, found))
    # 3.
    search("shared memory", lambda found: _shared(ground, searcher, found))
    # 4.
    search("command lines, environments", lambda found: _commands(ground, searcher, found))
    # 5.
    surfaces += _memories(ground, searcher, note)
    return surfaces


def _surface(name: str, work: Callable[[Findings], None]) -> Surface:
    found, error = Findings(), None
    try:
        work(found)
    except AuditError as failure:
        error = failure.message
    return Surface(
        name=name,
        bytes_searched=found.bytes_searched,
        hits=found.hits,
        places=found.places(),
        error=error,
    )


def _folders(layout: ClusterLayout) -> dict[str, Path]:
    folders = {
        "telemetry": layout.folder / "logs",
        "store files": layout.own("store"),
        "cluster folder": layout.folder,
        "runtime folder": layout.runtime,
    }
    if layout.ray.exists():
        folders["ray session folder"] = Path(load_config(RayHandle, layout.ray).temp)
    return folders


def _below(folder: Path, others: set[Path], searcher: Searcher, found: Findings) -> None:
    inner = [other for other in others if other.is_relative_to(folder)]
    for path in files_below(folder):
        if not any(path.is_relative_to(other) for other in inner):
            search_file(path, searcher, found)


def _changed(ground: Ground, skip: frozenset[Path], searcher: Searcher, found: Findings) -> None:
    for path in changed_files(ground.since, skip=skip, below=ground.below):
        search_file(path, searcher, found)


def _shared(ground: Ground, searcher: Searcher, found: Findings) -> None:
    for path in files_below(SHARED_MEMORY):
        search_file(path, searcher, found)
    pids = [process.pid for process in ground.processes()]
    search_shared(pids, searcher, found, since=ground.since)
    if count := unattached_segments(ground.since):
        raise AuditError(f"{count} System V segments belong to no process")


def _commands(ground: Ground, searcher: Searcher, found: Findings) -> None:
    for process in ground.processes():
        for name in ("cmdline", "environ"):
            try:
                data = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            except OSError as error:
                raise AuditError(f"{name} of {process.name}: {error.strerror}") from None
            found.take(searcher, data, at=0, where=f"{name} of {process.name}")


def _memories(ground: Ground, searcher: Searcher, note: Callable[[str], None]) -> Iterator[Surface]:
    """One surface for each process, until no new one appears."""
    seen: set[tuple[int, int]] = set()
    names = Counter[str]()
    for _ in range(ROUNDS):
        fresh = [p for p in ground.processes() if (p.pid, p.started) not in seen]
        for process in fresh:
            seen.add((process.pid, process.started))
            note(f"memory of {process.name}")
            surface = _memory(ground, process, searcher)
            if surface is not None:
                names[surface.name] += 1
                yield _numbered(surface, names[surface.name])
        if not fresh:
            break
    else:
        error = "processes appear faster than they are searched"
        yield Surface(name="memory of newer processes", bytes_searched=0, hits=0, error=error)
    for name in missing_roles(ground.layout, ground.processes()):
        yield Surface(name=f"memory of {name}", bytes_searched=0, hits=0, error="does not run")


def _memory(ground: Ground, process: ClusterProcess, searcher: Searcher) -> Surface | None:
    """None when it ended: its memory is gone, and what replaced it is found by the next round.

    Whether anything had to replace it is judged by ``missing_roles``.
    """
    ended = False

    def work(found: Findings) -> None:
        nonlocal ended
        try:
            search_memory(process.pid, searcher, found, since=ground.since)
        except ProcessEnded:
            ended = True

    surface = _surface(f"memory of {process.name}", work)
    return None if ended and not surface.hits else surface


def _numbered(surface: Surface, number: int) -> Surface:
    if number == 1:
        return surface
    return replace(surface, name=f"{surface.name} ({number})")
