"""`lanai audit canary`: marked requests through a running cluster, then a search of everything.

1. The right to read processes' memory, a whole cluster, its model's tokenizer.
2. Marks, needles for their common part, a device of its own.
3. The positive control: a held request's worker and engine show marks. Another's worker is killed.
4. The load: requests of every kind, some side by side. An answer may be over before it is
   cancelled; another request is sent then.
5. The requests have ended: the device's process has, and the nodes say that nothing is live.
6. Every surface is searched, for marks and for what is unmistakable of the answers.
7. The verdict: the control holds, every kind of request took its path, no surface has a hit or
   could not be read.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloud_node.audit.control import Control, Stage
from cloud_node.audit.device import Ended, open_device
from cloud_node.audit.load import maker_for, send_all, settled
from cloud_node.audit.machine import machine
from cloud_node.audit.marks import Marks
from cloud_node.audit.needles import answer_needles, id_needles, text_needles
from cloud_node.audit.processes import ClusterProcess, cluster_processes, require_readable
from cloud_node.audit.requests import EXPECTED, Kind
from cloud_node.audit.search import Searcher
from cloud_node.audit.surfaces import Ground, Surface, search_surfaces
from cloud_node.cluster.layout import ClusterLayout
from lanai.content import Content

__all__ = ["Report", "canary"]

Note = Callable[[str], None]
CANCEL_TRIES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the audit found."""

    surfaces: Sequence[Surface]
    control: Control
    sent: Counter[Kind]
    as_expected: Counter[Kind]
    unexpected: Counter[str]
    seconds: float
    search_s: float

    @property
    def problems(self) -> list[str]:
        """Why this is no clean result; empty when it is one."""
        found = [f"{s.name}: {s.hits} hits" for s in self.surfaces if s.hits]
        found += [f"{s.name}: {s.error}" for s in self.surfaces if s.error]
        if not self.control.holds:
            found.append("the positive control shows no mark: this scanner proves nothing")
        missed = [kind for kind in self.sent if not self.as_expected[kind]]
        found += [f"no request of kind {kind} ended {EXPECTED[kind]}" for kind in missed]
        return found

    def to_json(self) -> dict[str, Any]:
        searched = sum(surface.bytes_searched for surface in self.surfaces)
        return {
            "clean": not self.problems,
            "surfaces": [surface.to_json() for surface in self.surfaces],
            "positive_control_hits": self.control.worker + self.control.engine,
            "positive_control": {"worker": self.control.worker, "engine": self.control.engine},
            "requests": {
                str(kind): {"sent": count, "as_expected": self.as_expected[kind]}
                for kind, count in self.sent.items()
            },
            "unexpected": dict(self.unexpected),
            "problems": self.problems,
            "machine": machine(),
            "bytes_searched": searched,
            "seconds": round(self.seconds, 2),
            "search_s": round(self.search_s, 2),
        }


@dataclass(slots=True)
class _Tally:
    """What the device saw."""

    note: Note
    sent: Counter[Kind] = field(default_factory=Counter)
    as_expected: Counter[Kind] = field(default_factory=Counter)
    answers: list[Content] = field(default_factory=list)
    unexpected: Counter[str] = field(default_factory=Counter)
    """Codes of requests that ended otherwise."""

    def misses(self, kind: Kind) -> bool:
        """Whether requests of this kind were sent, and none took its path."""
        return self.sent[kind] > 0 and not self.as_expected[kind]

    def take(self, kind: Kind, ended: Ended | None) -> None:
        self.sent[kind] += 1
        self.note(f"requests: {self.sent.total()}")
        if ended is not None and ended.outcome is EXPECTED[kind]:
            self.as_expected[kind] += 1
            self.answers.append(ended.text)
        else:
            self.unexpected[f"{kind}: {ended.code if ended else 'no worker'}"] += 1


async def canary(
    layout: ClusterLayout,
    *,
    requests: int,
    seed: int = 0,
    below: Path = Path("/"),
    plant: Callable[[Marks], Sequence[ClusterProcess]] = lambda marks: (),
    note: Note = lambda line: None,
) -> Report:
    """Audit a running cluster. ``plant`` gives processes to search beside the cluster's own.

    Raises ``CloudUnavailable`` (no cluster), ``AuditError`` (no right to read, no device).
    """
    began, since = time.monotonic(), time.time()
    # 1.
    require_readable(cluster_processes(layout))
    marked = await asyncio.to_thread(maker_for, layout, seed=seed)
    # 2.
    marks, maker, tally = marked.marks, marked.maker, _Tally(note=note)
    needles = [*text_needles(marks.common), *id_needles(marks.ids)]
    searcher = Searcher(needles, marks.label)
    ground = Ground(layout=layout, since=since, below=below)
    with tempfile.TemporaryDirectory(prefix="lanai-audit-") as home:
        async with open_device(layout, Path(home)) as device:
            # 3.
            note("positive control")
            stage = Stage(device=device, maker=maker, ground=ground, searcher=searcher)
            control = await stage.control()
            tally.take(Kind.KILLED, await stage.kill_worker())
            # 4.
            await send_all(device, maker.load(requests), lambda r, end: tally.take(r.kind, end))
            for _ in range(CANCEL_TRIES):
                if tally.misses(Kind.CANCELLED):
                    request = maker.make(Kind.CANCELLED)
                    tally.take(request.kind, await device.send(request).ended)
        # 5.
        note("until the last request has ended")
        await settled(layout)
        # 6.
        needles += answer_needles(tally.answers)
        searcher = Searcher(needles, marks.label)
        ground = Ground(layout=layout, since=since, below=below, also=plant(marks))
        searching = time.monotonic()
        surfaces = await asyncio.to_thread(search_surfaces, ground, searcher, note=note)
    # 7.
    return Report(
        surfaces=surfaces,
        control=control,
        sent=tally.sent,
        as_expected=tally.as_expected,
        unexpected=tally.unexpected,
        seconds=time.monotonic() - began,
        search_s=time.monotonic() - searching,
    )
