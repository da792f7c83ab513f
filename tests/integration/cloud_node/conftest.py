"""What real node processes need around them: a log, a store, a tiny model, and their files."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from cloud_node.launcher_config import LauncherConfig
from cloud_node.node import NodeConfig
from cloud_node.store import Store
from cloud_node.testing.host import UnsafeHost, open_host
from inference.testing import write_tiny_model
from trust.verification import VerifiedNode


@dataclass(kw_only=True)
class Site:
    """One host: its folder, store, log and trust, and the processes a test starts on it."""

    folder: Path
    host: UnsafeHost
    store: Store
    config: NodeConfig
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def write(self, config: NodeConfig) -> Path:
        return config.write(self.folder / f"{config.name}.json")

    def launcher(self, number: int, **more: Any) -> LauncherConfig:
        node = self.config.model_copy(update={"name": f"node-{number}"})
        return LauncherConfig(
            socket=str(self.folder / f"launcher-{number:02}.sock"),
            node_config=str(self.write(node)),
            node_log=str(self.folder / f"node-{number}.jsonl"),
            start_timeout_s=85.0,
            **more,
        )

    async def start(self, module: str, *arguments: str) -> tuple[asyncio.subprocess.Process, bytes]:
        """Start one of our processes; return it with its ready line."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, *arguments), stdout=asyncio.subprocess.PIPE
        )
        self.processes.append(process)
        if process.stdout is None:
            raise RuntimeError("no output")
        async with asyncio.timeout(60):
            return process, await process.stdout.readline()

    async def announced(self) -> dict[bytes, VerifiedNode]:
        """Nodes in the store that a device would accept."""
        return await self.host.announced()

    async def only_node(self) -> VerifiedNode:
        """The one node there is, as soon as it is announced."""
        (node,) = (await self.until(self.announced)).values()
        return cast(VerifiedNode, node)

    async def end_processes(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.terminate()
        for process in self.processes:
            async with asyncio.timeout(60):
                await process.wait()

    async def until(self, condition: Callable[[], Any], within_s: float = 60.0) -> Any:
        """Wait for an (async) condition to give something true."""
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            value = await value if asyncio.iscoroutine(value) else value
            if value:
                return value
            assert time.monotonic() < deadline, "the condition did not come true"
            await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
async def site(tiny_model: Path) -> AsyncIterator[Site]:
    """A host with everything but nodes; ends every process it started."""
    async with opened_site(tiny_model) as host:
        yield host


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_site(tiny_model: Path) -> AsyncIterator[Site]:
    """The same for all tests of a file that leave what runs as they found it."""
    async with opened_site(tiny_model) as host:
        yield host


@asynccontextmanager
async def opened_site(model: Path) -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:  # short: sockets live below it
        folder = Path(name)
        async with open_host(folder, model, context_tokens=512) as around:
            host = Site(folder=folder, host=around, store=around.store, config=around.config)
            try:
                yield host
            finally:
                await host.end_processes()
