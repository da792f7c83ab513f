"""`lanai audit soak`: many requests in a row leave every piece of a cluster as large as it was.

1. A device of the audit's own; a warm-up with more requests at once than later, after which pools
   of connections and heaps have their size.
2. The footprint of each piece: processes, open descriptors, memory of its own.
3. The requests: short ones, every tenth cancelled by the device, every tenth refused.
4. When the last has ended, the footprint again, and what differs. Connections between the pieces
   come and go by the clock, so what differs is looked at again for a while: a leak stays.

Memory is judged piece by piece, and all of it together. Some pieces grow for reasons of their own;
they are shown, count in the sum, and their processes and descriptors are judged. The store's server
keeps a hash of each spent token and each request's id until they expire, as it must. Ray's
processes, which no request passes, grow with time: raylet from 10 to 12 MB in 11 minutes without
one.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloud_node.audit.device import MarkedDevice, open_device
from cloud_node.audit.load import maker_for, send_all, settled
from cloud_node.audit.processes import ClusterProcess, cluster_processes, require_readable
from cloud_node.audit.requests import Kind, MarkedRequest, RequestMaker
from cloud_node.cluster.layout import ClusterLayout
from lanai.errors import AuditError

__all__ = ["Footprint", "SoakReport", "footprints", "soak"]

MEMORY_GROWTH: Final = 0.02
KEEPS_MARKS_OF_SPENDING: Final = "store valkey-server"
RAY: Final = "ray "
WARM_SIDE_BY_SIDE: Final = 16
SIDE_BY_SIDE: Final = 4
LOOKS, LOOK_S = 3, 0.03
"""The fewest descriptors of some looks: the supervisor's connection comes and goes."""
PATIENCE_S: Final = 20.0
MIX: Final = (*(Kind.SHORT for _ in range(8)), Kind.CANCELLED, Kind.BAD_FIELD)
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a piece takes. ``memory_bytes``: anonymous pages, resident or swapped out."""

    processes: int = 0
    descriptors: int = 0
    memory_bytes: int = 0

    def __add__(self, other: "Footprint") -> "Footprint":
        return Footprint(
            processes=self.processes + other.processes,
            descriptors=self.descriptors + other.descriptors,
            memory_bytes=self.memory_bytes + other.memory_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakReport:
    """Footprints by piece, before and after."""

    requests: int
    ended: Counter[str]
    before: Mapping[str, Footprint]
    after: Mapping[str, Footprint]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Which pieces are not as they were; empty when all are."""
        found = []
        for name in sorted(self.before.keys() | self.after.keys()):
            old, new = self.before.get(name, Footprint()), self.after.get(name, Footprint())
            if new.processes != old.processes:
                found.append(f"{name}: {old.processes} processes became {new.processes}")
            if new.descriptors != old.descriptors:
                found.append(f"{name}: {old.descriptors} descriptors became {new.descriptors}")
            may_grow = name == KEEPS_MARKS_OF_SPENDING or name.startswith(RAY)
            if not may_grow and _growth(old, new) > MEMORY_GROWTH:
                found.append(f"{name}: its memory grew by {_growth(old, new):.1%}")
        if self.memory_growth > MEMORY_GROWTH:
            found.append(f"all together: memory grew by {self.memory_growth:.1%}")
        return found

    @property
    def memory_growth(self) -> float:
        """Of all pieces together, as a share."""
        sums = (sum(pieces.values(), Footprint()) for pieces in (self.before, self.after))
        return _growth(*sums)

    def to_json(self) -> dict[str, Any]:
        return {
            "same": not self.problems,
            "requests": self.requests,
            "ended": dict(self.ended),
            "memory_growth": round(self.memory_growth, 4),
            "pieces": list(self._pieces()),
            "problems": self.problems,
            "seconds": round(self.seconds, 2),
        }

    def _pieces(self) -> Iterator[dict[str, Any]]:
        for name in sorted(self.before.keys() | self.after.keys()):
            old, new = self.before.get(name, Footprint()), self.after.get(name, Footprint())
            yield {
                "name": name,
                "processes": [old.processes, new.processes],
                "descriptors": [old.descriptors, new.descriptors],
                "memory_bytes": [old.memory_bytes, new.memory_bytes],
                "memory_growth": round(_growth(old, new), 4),
            }


async def soak(
    layout: ClusterLayout, *, requests: int, warm_up: int, note: Note = lambda line: None
) -> SoakReport:
    """Raises ``CloudUnavailable`` (no cluster), ``AuditError`` (no right to look, no device)."""
    began = time.monotonic()
    require_readable(cluster_processes(layout))
    maker = (await asyncio.to_thread(maker_for, layout, seed=0)).maker
    with tempfile.TemporaryDirectory(prefix="lanai-audit-") as home:
        async with open_device(layout, Path(home)) as device:
            # 1.
            await _run(device, maker, warm_up, note, side_by_side=WARM_SIDE_BY_SIDE)
            await settled(layout)
            # 2.
            before = await asyncio.to_thread(footprints, layout)
            # 3.
            ended = await _run(device, maker, requests, note, side_by_side=SIDE_BY_SIDE)
            await settled(layout)
            # 4.
            until = time.monotonic() + PATIENCE_S
            while True:
                report = SoakReport(
                    requests=requests,
                    ended=ended,
                    before=before,
                    after=await asyncio.to_thread(footprints, layout),
                    seconds=time.monotonic() - began,
                )
                if not report.problems or time.monotonic() > until:
                    return report


def footprints(layout: ClusterLayout) -> dict[str, Footprint]:
    """What each piece of the cluster takes now, by name. Raises ``AuditError``."""
    found: dict[str, Footprint] = {}
    for process in cluster_processes(layout):
        with suppress(FileNotFoundError, ProcessLookupError):
            found[process.name] = found.get(process.name, Footprint()) + _footprint(process)
    return found


async def _run(
    device: MarkedDevice, maker: RequestMaker, count: int, note: Note, *, side_by_side: int
) -> Counter[str]:
    ended = Counter[str]()

    def took(request: MarkedRequest, outcome: str) -> None:
        ended[str(outcome)] += 1
        note(f"requests: {ended.total()} of {count}")

    load = (maker.make(MIX[number % len(MIX)]) for number in range(count))
    await send_all(
        device, load, lambda request, end: took(request, end.outcome), side_by_side=side_by_side
    )
    return ended


def _footprint(process: ClusterProcess) -> Footprint:
    folder = Path(f"/proc/{process.pid}")
    try:
        descriptors = min(_open_descriptors(folder) for _ in range(LOOKS))
        rollup = (folder / "smaps_rollup").read_text()
    except PermissionError:
        raise AuditError(f"{process.name} may not be looked at", hint="run as root") from None
    sizes = dict(line.split(":", 1) for line in rollup.splitlines()[1:])
    pages = sum(int(sizes[name].split()[0]) << 10 for name in ("Anonymous", "Swap"))
    return Footprint(processes=1, descriptors=descriptors, memory_bytes=pages)


def _open_descriptors(folder: Path) -> int:
    time.sleep(LOOK_S)
    return sum(1 for _ in (folder / "fd").iterdir())


def _growth(old: Footprint, new: Footprint) -> float:
    return (new.memory_bytes - old.memory_bytes) / max(old.memory_bytes, 1)
