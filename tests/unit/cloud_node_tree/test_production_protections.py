"""A machine that lacks a protection runs no production node, and says so of a development one."""

import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_node.events import Component, EventLog
from cloud_node.tree.doors import Door
from cloud_node.tree.engine_process import EngineProcess
from cloud_node.tree.piece import Piece
from cloud_node.tree.piece_process import ENVIRONMENT
from lanai.confinement import Confinement, Granted, Protection
from lanai.errors import ConfigError

ZYGOTE = """
import os, sys
import cloud_node.tree.nursery as nursery
from lanai.confinement import Granted

nursery.confine = lambda *_, **__: Granted.of(frozenset())
nursery.work = lambda room, message, descriptors: os.write(descriptors[0], b"worked")
reading, writing = os.pipe()
workers = nursery.ForkingNursery(
    None, rehearsal=lambda room: None, strict=bool(sys.argv[1]), seconds=30.0
)
try:
    workers.send_out({}, [writing])
except ConnectionError:
    pass
workers.close()
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
os.close(writing)
print(os.read(reading, 16).decode())
"""
"""A process of one thread whose machine has no protection at all."""
LACKING = Granted.of(frozenset(Protection) - {Protection.READ_ONLY_VIEW})


@pytest.fixture(autouse=True)
def _poor_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel has no Landlock. Nothing confines the process of this test."""
    monkeypatch.setattr("cloud_node.tree.piece.confine", lambda *_, **__: LACKING)


@pytest.fixture
def piece() -> Iterator[Any]:
    ours, theirs = socket.socketpair()
    stream = io.StringIO()
    with ours, theirs:
        log = EventLog(Component.ZYGOTE, stream=stream)
        made = Piece(order={}, wire=Door(ours), door=None, log=log)
        yield SimpleNamespace(piece=made, stream=stream)


def test_a_production_piece_refuses_to_serve(piece: Any) -> None:
    """Named in the error and in an event."""
    with pytest.raises(ConfigError, match="read_only_view"):
        piece.piece.confine(Confinement(), profile="production")
    assert json.loads(piece.stream.getvalue())["protection"] == "read_only_view"


def test_a_development_piece_tells_the_launcher(piece: Any) -> None:
    """It serves, and what is missing shows in `lanai cloud status`."""
    assert piece.piece.confine(Confinement(), profile="development") == ["read_only_view"]


async def test_a_production_engine_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it lacks when it is ready; no worker ever reaches it."""
    closed = []

    class Engine:
        info = SimpleNamespace(lacking=("read_only_view",))

        async def close(self) -> None:
            closed.append(True)

    async def start(*_: Any, **__: Any) -> Engine:
        return Engine()

    monkeypatch.setattr("cloud_node.tree.engine_process.ProcessEngine.start", start)
    config: Any = SimpleNamespace(
        model_folder="/models/tiny",
        context_tokens=64,
        threads=1,
        engine_processors=(),
        profile="production",
    )
    with pytest.raises(ConfigError):
        await EngineProcess.start(config)
    assert closed == [True]


@pytest.mark.parametrize(("strict", "worked"), [("strict", ""), ("", "worked")])
def test_a_production_worker_reads_no_request(strict: str, worked: str) -> None:
    """Forked, and ended before it looks at what it was handed."""
    command = [sys.executable, "-c", ZYGOTE, strict]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == worked
