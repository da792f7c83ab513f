"""A child process that holds what a test tells it, and marks of a tokenizer of the test's own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_node.audit.findings import Findings
from cloud_node.audit.marks import Marks
from cloud_node.audit.memory import search_memory
from cloud_node.audit.needles import id_needles, text_needles
from cloud_node.audit.search import Searcher

CHILD = """
import json, sys
names = {}
for line in sys.stdin:
    exec(json.loads(line), names)
    print("done", flush=True)
"""


def encode(text: str) -> list[int]:
    """One id for each character, all beyond CPython's shared ints."""
    return [3 * ord(character) + 1000 for character in text]


class Child:
    """An interpreter that runs lines of Python, which it is told through a pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, code: str) -> None:
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def marks() -> Marks:
    return Marks(encode)


@pytest.fixture
def searcher(marks: Marks) -> Searcher:
    return Searcher([*text_needles(marks.common), *id_needles(marks.ids)], marks.label)


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.end()


@pytest.fixture
def look(searcher: Searcher) -> Callable[[Child], Findings]:
    since = time.time() - 60

    def search(child: Child) -> Findings:
        found = Findings()
        search_memory(child.pid, searcher, found, since=since)
        return found

    return search


@pytest.fixture
def shared_file(tmp_path: Path) -> Iterator[Path]:
    """A file in the memory file system that processes share."""
    path = Path("/dev/shm") / f"lanai-test-{tmp_path.name}-{time.time_ns()}"
    yield path
    path.unlink(missing_ok=True)
