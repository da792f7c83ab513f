"""The canary on a real cluster: no mark anywhere, a control that hits, and a leak that is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_node.audit.canary import canary
from cloud_node.audit.requests import EXPECTED, LOAD, Kind
from cloud_node.audit.soak import soak

PIECES = ("front", "keyholder", "zygote", "engine")


async def test_no_surface_of_a_cluster_holds_a_mark(audited_cluster) -> None:
    """Requests of every kind; every file that changed on this host and every process is clean."""
    report = await canary(audited_cluster, requests=2 * len(LOAD))
    assert report.problems == []
    assert report.control.worker > 0
    assert report.control.engine > 0
    assert report.sent.keys() == set(EXPECTED) - {Kind.HELD}
    searched = {surface.name: surface.bytes_searched for surface in report.surfaces}
    parts = ("gateway", "relay", "issuer", "log", "witness", "store", "ray gcs_server")
    for part in (*parts, "ray raylet", "launcher-0", *(f"launcher-0 {p}" for p in PIECES)):
        assert searched[f"memory of {part}"] > 1 << 20, part
    for name in ("telemetry", "cluster folder", "store files", "changed files", "shared memory"):
        assert searched[name] > 0, name
    assert searched["ray session folder"] > 0
    assert searched["command lines, environments"] > 0


async def test_a_leak_is_found(audited_cluster, plant, tmp_path: Path) -> None:
    """A process that keeps one prompt after its request is found, and named with what it keeps.

    The report is JSON: `surfaces` with name, bytes and hits; the control's hits; why not clean.
    """
    report = await canary(audited_cluster, requests=len(LOAD), below=tmp_path, plant=plant)
    [leak] = [surface for surface in report.surfaces if surface.hits]
    assert leak.name == "memory of planted"
    assert {place["mark"] for place in leak.places} == {"planted"}
    assert report.problems == [f"memory of planted: {leak.hits} hits"]
    value = json.loads(json.dumps(report.to_json()))
    assert (value["clean"], value["problems"]) == (False, report.problems)
    assert value["positive_control_hits"] > 0
    assert all(
        {"name", "bytes_searched", "hits"} <= surface.keys() for surface in value["surfaces"]
    )


async def test_requests_leave_no_processes_and_no_descriptors(audited_cluster) -> None:
    """A hundred requests, some cancelled and some refused: every piece counts as before."""
    report = await soak(audited_cluster, requests=100, warm_up=150)
    for piece in report.to_json()["pieces"]:
        for counts in (piece["processes"], piece["descriptors"]):
            assert counts[0] == counts[1], piece
    assert report.ended.total() == 100
    # An answer may be over before it is cancelled.
    assert report.ended.keys() <= {"answered", "cancelled", "bad_request"}
    assert report.ended["answered"] >= 80


@pytest.mark.parametrize("command", ["canary", "soak"])
def test_without_a_cluster_the_command_says_so(tmp_path: Path, command: str) -> None:
    """Exit 1 with a hint, and no result that could be mistaken for a clean one."""
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            "from lanai.cli import main; main()",
            "audit",
            command,
            "--json",
        ],
        capture_output=True,
        text=True,
        env={"LANAI_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "hint: `lanai cloud up` starts one" in done.stderr
