"""`lanai audit canary`: marked requests through a running cluster, then a search of everything.

1. The right to read processes' memory, a whole cluster, its model's tokenizer.
2. Marks, needles for their common part, a device of its own.
3. The positive control: a held request's worker and engine show marks. Another's worker is killed.
4. The load: requests of every kind, some side by side.
5. The requests have ended: the device's process has, and the nodes say that nothing is live.
6. Every surface is searched, for marks and for what is unmistakable of the answers.
7. The verdict: the control holds, every kind of request took its path, no surface has a hit or
   could not be read.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloud_node.audit.control import Control, Stage
from cloud_node.audit.device import Ended, MarkedDevice, open_device
from cloud_node.audit.machine import machine
from cloud_node.audit.marks import Marks
from cloud_node.audit.needles import answer_needles, id_needles, text_needles
from cloud_node.audit.processes import ClusterProcess, cluster_processes
from cloud_node.audit.requests import EXPECTED, Kind, MarkedRequest, RequestMaker
from cloud_node.audit.search import Searcher
from cloud_node.audit.surfaces import Ground, Surface, search_surfaces
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.launcher_client import LauncherClient
from cloud_node.node.config import NodeConfig
from cloud_node.service import load_config
from inference.text import TextModel, load_text_model
from lanai.content import Content
from lanai.errors import AuditError, CloudUnavailable

__all__ = ["Report", "canary"]

SIDE_BY_SIDE: Final = 4
FILL: Final = 0.55
"""Share of a node's context that a long request takes."""
SETTLE_S: Final = 60.0
POLL_S: Final = 0.25
Note = Callable[[str], None]


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

    sent: Counter[Kind] = field(default_factory=Counter)
    as_expected: Counter[Kind] = field(default_factory=Counter)
    answers: list[Content] = field(default_factory=list)
    unexpected: Counter[str] = field(default_factory=Counter)
    """Codes of requests that ended otherwise."""

    def take(self, kind: Kind, ended: Ended | None) -> None:
        self.sent[kind] += 1
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
    config = _node_config(layout)
    text = await asyncio.to_thread(load_text_model, Path(config.model_folder))
    # 2.
    marks = Marks(text.encode)
    needles = [*text_needles(marks.common), *id_needles(marks.ids)]
    searcher, tally = Searcher(needles, marks.label), _Tally()
    maker = _maker(marks, text, config, seed)
    ground = Ground(layout=layout, since=since, below=below)
    with tempfile.TemporaryDirectory(prefix="lanai-audit-") as home:
        async with open_device(layout, Path(home)) as device:
            # 3.
            note("positive control")
            stage = Stage(device=device, maker=maker, ground=ground, searcher=searcher)
            control = await stage.control()
            tally.take(Kind.KILLED, await stage.kill_worker())
            # 4.
            await _send_all(device, list(maker.load(requests)), tally, note)
        # 5.
        note("until the last request has ended")
        await _settled(layout)
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


def _node_config(layout: ClusterLayout) -> NodeConfig:
    paths = sorted((layout.folder / "config").glob("node-*.json"))
    if not paths:
        raise CloudUnavailable("this cluster has no node", hint="`lanai cloud scale 1`")
    return load_config(NodeConfig, paths[0])


def _maker(marks: Marks, text: TextModel, config: NodeConfig, seed: int) -> RequestMaker:
    sample = "quiet harbour, " * 8 + marks.make("sample")
    characters = len(sample) / len(text.encode(sample)) * config.context_tokens * FILL
    return RequestMaker(
        marks, context_tokens=config.context_tokens, characters=int(characters), seed=seed
    )


async def _send_all(
    device: MarkedDevice, load: Sequence[MarkedRequest], tally: _Tally, note: Note
) -> None:
    """A few at once, the rest when one has ended."""
    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(request: MarkedRequest) -> None:
        async with room:
            tally.take(request.kind, await device.send(request).ended)
            note(f"requests: {sum(tally.sent.values()) - 1} of {len(load)}")

    await asyncio.gather(*map(one, load))


async def _settled(layout: ClusterLayout) -> None:
    """Until every node says that nothing is live. Raises ``AuditError`` when that takes too long.

    Nodes report twice a second, so each is asked again after the first quiet answer.
    """
    quiet = 0
    deadline = time.monotonic() + SETTLE_S
    while quiet < 4:
        said = [await LauncherClient(socket=path).status() for path in layout.sockets]
        quiet = 0 if any(status.live for status in said) else quiet + 1
        if time.monotonic() > deadline:
            raise AuditError(
                "requests are still live", hint="audit a cluster when nobody else uses it"
            )
        await asyncio.sleep(POLL_S)
