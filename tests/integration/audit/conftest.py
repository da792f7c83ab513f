"""A real cluster, Ray included, with a model of random weights, to be audited."""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cloud_node.audit.marks import Marks
from cloud_node.audit.processes import ClusterProcess
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.plan import ClusterPlan
from cloud_node.cluster.up import down, up
from inference.testing import write_tiny_model
from lanai.folders import Folders

CONTEXT_TOKENS = 4096
PLANTED = """
import json, sys
kept = json.loads(sys.stdin.readline())
print("kept", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def audited_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterLayout]:
    """Short paths: sockets lie below."""
    model = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    with tempfile.TemporaryDirectory(prefix="lanai-") as home:
        folders = Folders.below(Path(home))
        layout = ClusterLayout.of(folders, "audited")
        plan = ClusterPlan(
            profile="development",
            model_name="tiny",
            model_folder=model,
            model_bytes=0,
            context_tokens=CONTEXT_TOKENS,
            threads=1,
        )
        asyncio.run(up(folders, layout, plan, say=lambda line: None))
        try:
            yield layout
        finally:
            asyncio.run(down(layout, say=lambda line: None))


@pytest.fixture
def plant() -> Iterator[Callable[[Marks], Sequence[ClusterProcess]]]:
    """Starts a process that keeps a mark, as a part of a cluster that leaks would."""
    started: list[subprocess.Popen[str]] = []

    def start(marks: Marks) -> Sequence[ClusterProcess]:
        process = subprocess.Popen(
            [sys.executable, "-c", PLANTED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        process.stdin.write(json.dumps("said: " + marks.make("planted")) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "kept\n"
        return [ClusterProcess(role="planted", owner="planted", pid=process.pid, started=0)]

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.wait()
