"""What confined processes are let loose on, and how they are run."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from inference.testing.random_packed import tiny_config, write_tiny_packed
from inference.testing.tiny_model import write_tiny_model

HERE = Path(__file__).parent
SIBLING = """
import ctypes, sys
secret = ctypes.create_string_buffer(b"0123456789abcdef", 16)
print(ctypes.addressof(secret), flush=True)
sys.stdin.read()
"""
Run = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def listener(stack: ExitStack, family: int, at: Any) -> socket.socket:
    made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    made.bind(at)
    made.listen(64)
    return made


def sibling(stack: ExitStack) -> tuple[int, int]:
    """A process of this user that protects nothing: its id, and its secret's address."""
    process = stack.enter_context(
        subprocess.Popen([sys.executable, "-c", SIBLING], stdin=-1, stdout=-1, text=True)
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    return process.pid, int(process.stdout.readline())


@pytest.fixture
def targets(stack: ExitStack, tmp_path: Path) -> dict[str, Any]:
    """Everything that `attempts.Targets` names, put up for one confined process."""
    view, elsewhere = tmp_path / "view", tmp_path / "elsewhere"
    for folder in (view, elsewhere):
        folder.mkdir()
    for name in ("seen", "moved", "removed"):
        (view / name).write_bytes(b"sixteen bytes of")
    (tmp_path / "secret").write_bytes(b"x")
    write_tiny_model(view / "model")
    write_tiny_packed(view / "packed", tiny_config())
    (view / "packed" / "lanai.json").write_text(
        json.dumps({"schema": "lanai.model/1", "format": "packed", "file": "model.safetensors"})
    )
    here = ("127.0.0.1", 0)
    allowed, other = (listener(stack, socket.AF_INET, here) for _ in range(2))
    abstract = f"lanai-test-{os.getpid()}"
    listener(stack, socket.AF_UNIX, f"\0{abstract}")
    listener(stack, socket.AF_UNIX, str(tmp_path / "socket"))
    pid, address = sibling(stack)
    return {
        "view": str(view),
        "secret": str(tmp_path / "secret"),
        "elsewhere": str(elsewhere),
        "allowed_port": allowed.getsockname()[1],
        "other_port": other.getsockname()[1],
        "unix_path": str(tmp_path / "socket"),
        "abstract": abstract,
        "sibling": pid,
        "address": address,
    }


@pytest.fixture
def start(stack: ExitStack, targets: dict[str, Any]) -> Callable[[str, str], Any]:
    """``start(shape, "confined" or "free")``: the process, its pipes open."""

    def started(shape: str, how: str) -> "subprocess.Popen[str]":
        # One thread for numpy, as a node's pieces are started: more would escape Landlock.
        environment = dict(os.environ) | {"OPENBLAS_NUM_THREADS": "1"}
        return stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(HERE / "shapes.py"), shape, how, json.dumps(targets)],
                stdin=-1,
                stdout=-1,
                text=True,
                env=environment,
            )
        )

    return started


@pytest.fixture
def run(start: Callable[[str, str], Any]) -> Run:
    """``run(shape, how)``: the report of one such process."""

    def ran(shape: str, how: str) -> dict[str, Any]:
        process = start(shape, how)
        report, _ = process.communicate(timeout=120)
        return json.loads(report)  # type: ignore[no-any-return]

    return ran
