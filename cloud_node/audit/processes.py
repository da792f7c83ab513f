"""The processes of one cluster, found through the kernel: by descent and by session, not by asking.

A process is known by its pid and start time (clock ticks since boot). What it is called comes from
its command line, so that a fork of a zygote is called a worker.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessTable
from cloud_node.raycluster import RayHandle
from cloud_node.service import load_config
from lanai.errors import AuditError, CloudUnavailable

__all__ = ["ClusterProcess", "cluster_processes", "missing_roles", "require_readable", "runs"]

PIECE: Final = "cloud_node.tree.piece"
"""The module of every piece of a node but the engine; the piece's name comes next."""
ENGINE: Final = "inference.child"
PIECES: Final = ("front", "keyholder", "zygote", "engine")
DAEMONS: Final = ("gcs_server", "raylet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterProcess:
    """One process. ``role``: what it is; ``owner``: the entry of the cluster's table above it."""

    role: str
    owner: str
    pid: int
    started: int
    parent: int = 0

    @property
    def name(self) -> str:
        """For people: `launcher-0 engine`, `gateway`."""
        return self.owner if self.role == self.owner else f"{self.owner} {self.role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A process as ``/proc`` shows it."""

    pid: int
    parent: int
    session: int
    started: int
    command: tuple[str, ...]


def cluster_processes(layout: ClusterLayout) -> list[ClusterProcess]:
    """Every process of the cluster that runs now, parents before their children."""
    seen = {each.pid: each for each in _all_processes()}
    children = defaultdict[int, list[int]](list)
    for each in seen.values():
        children[each.parent].append(each.pid)
    found: dict[int, ClusterProcess] = {}
    for entry in ProcessTable(layout.processes).entries():
        top = seen.get(entry.pid)
        if top is not None and top.started == entry.started:
            _descend(entry.role, entry.role, top, seen, children, found)
    for each in seen.values():
        if each.session == _ray_session(layout):
            _descend("ray", _ray_role(each), each, seen, children, found)
    return list(found.values())


def missing_roles(layout: ClusterLayout, found: Iterable[ClusterProcess]) -> list[str]:
    """Names of processes that a whole cluster has and this one does not have now."""
    wanted: list[tuple[str, str]] = []
    for entry in ProcessTable(layout.processes).entries():
        wanted.append((entry.role, entry.role))
        if entry.role.startswith("launcher-"):
            wanted += [(entry.role, piece) for piece in PIECES]
    if layout.ray.exists():
        wanted += [("ray", daemon) for daemon in DAEMONS]
    there = {(process.owner, process.role) for process in found}
    return [
        owner if owner == role else f"{owner} {role}"
        for owner, role in wanted
        if (owner, role) not in there
    ]


def require_readable(processes: Sequence[ClusterProcess]) -> None:
    """Raises ``CloudUnavailable`` when there is nothing, ``AuditError`` when it may not be read."""
    if not processes:
        raise CloudUnavailable("no cluster of this name runs", hint="`lanai cloud up` starts one")
    for process in processes:
        try:
            for name in ("mem", "pagemap"):
                os.close(os.open(f"/proc/{process.pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            raise AuditError(
                f"the memory of {process.name} may not be read here",
                hint="run as root (what is needed is CAP_SYS_PTRACE)",
            ) from None


def runs(process: ClusterProcess) -> bool:
    """Whether that very process still runs; zombies have ended."""
    seen = _look(process.pid)
    return seen is not None and seen.started == process.started


def _descend(
    owner: str,
    role: str,
    top: _Seen,
    seen: Mapping[int, _Seen],
    children: Mapping[int, Iterable[int]],
    found: dict[int, ClusterProcess],
) -> None:
    if top.pid in found:
        return
    found[top.pid] = ClusterProcess(
        role=role, owner=owner, pid=top.pid, started=top.started, parent=top.parent
    )
    for pid in children.get(top.pid, ()):
        child = seen[pid]
        named = _ray_role(child) if owner == "ray" else _role(child, top, role)
        _descend(owner, named, child, seen, children, found)


def _role(process: _Seen, parent: _Seen, parents_role: str) -> str:
    if process.command == parent.command:
        return "worker" if parents_role == "zygote" else f"{parents_role} child"
    module = _module(process.command)
    if module == PIECE:
        return process.command[process.command.index(PIECE) + 1]
    if module is not None:
        return "engine" if module == ENGINE else module
    return Path(process.command[0].split()[0]).name if process.command else "unnamed"


def _ray_role(process: _Seen) -> str:
    """`gcs_server`, `raylet`, a replica's own name, or the script a Python runs."""
    if not process.command:
        return "unnamed"
    module = _module(process.command)
    scripts = [Path(word).name for word in process.command if word.endswith(".py")]
    first = process.command[0].split()[0]
    return module or (scripts[0] if scripts else Path(first).name)


def _module(command: tuple[str, ...]) -> str | None:
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1]
    return None


def _ray_session(layout: ClusterLayout) -> int | None:
    return load_config(RayHandle, layout.ray).session if layout.ray.exists() else None


def _all_processes() -> Iterator[_Seen]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (seen := _look(int(folder.name))) is not None:
            yield seen


def _look(pid: int) -> _Seen | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:  # it ended meanwhile
        return None
    # The name in parentheses may hold anything, so fields are counted from its end.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return _Seen(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        started=int(fields[19]),
        command=tuple(word for word in command.split("\0") if word),
    )
