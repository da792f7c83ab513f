"""A tiny model and an engine with a door, for those who knock."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from inference.link import EngineLink
from inference.process import ProcessEngine
from inference.testing import write_tiny_model
from inference.testing.random_packed import tiny_config, write_tiny_packed

CONTEXT = 2048


@dataclass(frozen=True, kw_only=True)
class House:
    """An engine, and the out-end of its door."""

    engine: ProcessEngine
    door: socket.socket
    files: int
    """Descriptors the engine has while nobody is in."""

    def enter(self) -> socket.socket:
        """A new link, before anything is said."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.door, [b"\0"], [theirs.fileno()])
        return ours

    def link(self) -> EngineLink:
        return EngineLink(self.enter(), self.engine.info)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tiny_model: Path) -> AsyncIterator[House]:
    """One engine for those tests of a file that leave it alive."""
    async with opened(tiny_model) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def packed_house(tmp_path: Path) -> AsyncIterator[House]:
    """One whose model runs in the compiled kernels."""
    config = tiny_config(vocabulary=300, max_context=CONTEXT)
    file = write_tiny_packed(tmp_path, config)
    manifest = {"schema": "lanai.model/1", "format": "packed", "file": file.name}
    (tmp_path / "lanai.json").write_text(json.dumps(manifest), encoding="utf-8")
    async with opened(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def own_house(tiny_model: Path) -> AsyncIterator[House]:
    """An engine to be ended."""
    async with opened(tiny_model) as made:
        yield made


@asynccontextmanager
async def opened(model: Path) -> AsyncIterator[House]:
    """Started as a node starts it: with an empty environment."""
    out_end, in_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with out_end:
        with in_end:
            engine = await ProcessEngine.start(
                model, context_tokens=CONTEXT, threads=1, door=in_end, environment={}
            )
        try:
            yield House(engine=engine, door=out_end, files=psutil.Process(engine.pid).num_fds())
        finally:
            await engine.close()
