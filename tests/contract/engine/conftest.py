"""Engines for the contract suite: the fake and the real one, with the same vocabulary."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from inference.engine import Engine
from inference.process import ProcessEngine
from inference.testing import Script, ScriptedEngine, write_tiny_model
from inference.testing.tiny_model import TINY_VOCABULARY

CONTEXT = 640
KINDS = ("scripted", "process")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An engine under test, and how to kill what runs it."""

    engine: Engine
    kill: Callable[[], None]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


async def started(kind: str, model: Path) -> Subject:
    if kind == "scripted":
        script = Script(ids=tuple(range(1, 50)) * 12, probability=0.4)
        scripted = ScriptedEngine([script], vocabulary=TINY_VOCABULARY, context_tokens=CONTEXT)
        return Subject(engine=scripted, kill=scripted.crash)
    process = await ProcessEngine.start(model, context_tokens=CONTEXT, threads=1)
    return Subject(engine=process, kill=lambda: os.kill(process.pid, signal.SIGKILL))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def subject(request: pytest.FixtureRequest, tiny_model: Path) -> AsyncIterator[Subject]:
    """One engine of each kind, shared by the tests that leave it alive."""
    shared = await started(request.param, tiny_model)
    yield shared
    await shared.engine.close()


@pytest_asyncio.fixture(loop_scope="module", params=KINDS)
async def mortal(request: pytest.FixtureRequest, tiny_model: Path) -> AsyncIterator[Subject]:
    """An engine of the test's own, to be killed or closed."""
    own = await started(request.param, tiny_model)
    yield own
    await own.engine.close()
