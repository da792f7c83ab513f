"""Each surface of a cluster: a leak on it is a hit there, and trouble is an error, never a zero."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_node.audit.canary import Report
from cloud_node.audit.control import Control
from cloud_node.audit.processes import cluster_processes, missing_roles, require_readable
from cloud_node.audit.requests import EXPECTED, Kind, RequestMaker
from cloud_node.audit.surfaces import Ground, Surface, search_surfaces
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessEntry, ProcessTable
from lanai.errors import CloudUnavailable
from lanai.folders import Folders
from protos.lanai.v1alpha.envelope_pb2 import RequestBody


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture
def layout(tmp_path: Path) -> ClusterLayout:
    made = ClusterLayout.of(Folders.below(tmp_path), "c")
    made.create()
    return made


@pytest.fixture
def gateway(layout: ClusterLayout, marks) -> Iterator[int]:
    """A "gateway" whose environment and command line hold a mark, as they never should."""
    program = "import sys; print('on', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, marks.make("argument")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LEAK": marks.make("environment")},
    )
    assert process.stdout.readline() == "on\n"
    entry = ProcessEntry(role="gateway", pid=process.pid, started=started(process.pid))
    ProcessTable(layout.processes).put(entry)
    yield process.pid
    process.stdin.close()
    process.stdout.close()
    process.wait()


@pytest.fixture
def searched(layout, gateway, marks, searcher, tmp_path, shared_file) -> dict[str, Surface]:
    """Every surface, with a mark on each."""
    for path in (
        layout.log("gateway"),
        layout.own("store") / "dump.rdb",
        layout.folder / "note",
        layout.runtime / "note",
        tmp_path / "core.1234",
        shared_file,
    ):
        path.write_text("x" * 99 + marks.make(path.name))
    ground = Ground(layout=layout, since=time.time() - 60, below=tmp_path)
    return {surface.name: surface for surface in search_surfaces(ground, searcher)}


def test_a_leak_on_any_surface_is_a_hit_there(searched) -> None:
    """Logs, a store's dump, other files, core dumps, shared memory, arguments, memory."""
    for name in ("telemetry", "store files", "cluster folder", "runtime folder", "changed files"):
        assert searched[name].hits == 1, name
    assert searched["shared memory"].hits >= 1
    assert searched["command lines, environments"].hits == 2
    assert searched["memory of gateway"].hits >= 2
    assert {place["mark"] for place in searched["changed files"].places} == {"core.1234"}
    assert not any(surface.error for surface in searched.values())


def test_a_process_that_does_not_run_is_an_error(layout, gateway, searcher, tmp_path) -> None:
    """What the cluster's table names and nobody finds was not searched."""
    ProcessTable(layout.processes).put(ProcessEntry(role="launcher-0", pid=1, started=1))
    assert missing_roles(layout, cluster_processes(layout)) == [
        "launcher-0",
        *(f"launcher-0 {piece}" for piece in ("front", "keyholder", "zygote", "engine")),
    ]
    ground = Ground(layout=layout, since=time.time(), below=tmp_path)
    surfaces = {surface.name: surface for surface in search_surfaces(ground, searcher)}
    assert surfaces["memory of launcher-0 engine"].error == "does not run"


def test_no_cluster_is_no_clean_one(layout) -> None:
    """Nothing runs: nothing is proved."""
    with pytest.raises(CloudUnavailable):
        require_readable(cluster_processes(layout))


def report(**changed) -> Report:
    sound = {
        "surfaces": [Surface(name="memory of relay", bytes_searched=1, hits=0)],
        "control": Control(worker=1, engine=1),
        "seconds": 1.0,
        "search_s": 1.0,
    }
    counts = {name: Counter() for name in ("sent", "as_expected", "unexpected")}
    return Report(**(sound | counts | changed))


def test_what_makes_a_report_unclean() -> None:
    """A hit, an error, a control without hits, a kind of request that never took its path."""
    bad = Surface(name="memory of relay", bytes_searched=1, hits=2)
    unread = Surface(name="memory of front", bytes_searched=0, hits=0, error="cannot be read")
    assert report().problems == []
    assert report(surfaces=[bad, unread]).problems == [
        "memory of relay: 2 hits",
        "memory of front: cannot be read",
    ]
    for control in (Control(worker=0, engine=9), Control(worker=9, engine=0)):
        [problem] = report(control=control).problems
        assert "proves nothing" in problem
    [problem] = report(sent={Kind.OVERFLOW: 2}, as_expected={Kind.OVERFLOW: 0}).problems
    assert problem == "no request of kind overflow ended context_overflow"


def test_every_kind_of_request_carries_marks(marks) -> None:
    """Each body holds the common part; each but the broken one is a body of the protocol."""
    maker = RequestMaker(marks, context_tokens=4096, characters=2000, seed=1)
    for kind in EXPECTED:
        body = maker.make(kind).body
        assert marks.common.encode() in body, kind
        if kind is not Kind.BAD_BODY:
            assert RequestBody.FromString(body).messages
    kinds = [request.kind for request in maker.load(26)]
    assert len(kinds) == 26
    assert {kinds.count(kind) for kind in set(kinds)} == {2}
