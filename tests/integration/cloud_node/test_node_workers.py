"""The workers and the confinement of one running node, as the kernel sees them.

One node serves the whole file: each test leaves its pieces alive, and as many spare workers as it
found. What ends a node, or begins one, is in ``test_node_process.py``.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from node_processes import parents, seal, tree, workers

from cloud_node.launcher_client import LauncherClient
from cloud_node.testing.direct import direct_answer as answers
from cloud_node.tree.nursery import SPARES
from trust.verification import VerifiedNode

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The name conftest gives to its part, for types only.
Site = Any

NO_CAPABILITY = "0" * 16


def seen(pid: int) -> dict[str, str]:
    """What /proc says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def core_limit(pid: int) -> list[str]:
    (line,) = [
        line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core" in line
    ]
    return line.split()[4:6]


def first_environment(pid: int) -> bytes:
    """What it was started with; root alone may look."""
    return Path(f"/proc/{pid}/environ").read_bytes() if os.geteuid() == 0 else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A node that its launcher started, and what the launcher says of it."""

    site: Site
    node: VerifiedNode
    address: str
    pieces: dict[str, int]
    missing: list[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(shared_site: Site) -> AsyncIterator[Running]:
    config = shared_site.launcher(1)
    path = config.write(shared_site.folder / "launcher-01.json")
    await shared_site.start("cloud_node.launcher", "--config", str(path))
    said = await LauncherClient(socket=Path(config.socket)).start()
    yield Running(
        site=shared_site,
        node=await shared_site.only_node(),
        address=said.address or "",
        pieces=dict(said.pieces),
        missing=list(said.missing),
    )


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def at_rest(running: Running) -> None:
    """No worker of the test before is at its end still."""
    await running.site.until(lambda: not workers(running.pieces["zygote"]))


async def test_every_piece_has_confined_itself(running: Running) -> None:
    """A filter, no new privileges, no capability, no core; the launcher knows what is missing."""
    assert set(running.pieces) == {"front", "keyholder", "zygote", "engine"}
    assert running.missing == []
    for name, pid in running.pieces.items():
        facts = seen(pid)
        assert facts["Seccomp"] == "2", name
        assert facts["NoNewPrivs"] == "1", name
        assert facts["CapEff"] == facts["CapPrm"] == facts["CapAmb"] == NO_CAPABILITY, name
        assert facts["Umask"] == "0077", name
        assert core_limit(pid) == ["0", "0"], name
        assert b"LANG=" not in first_environment(pid), name


async def test_a_worker_that_dies_takes_its_own_request_only(running: Running) -> None:
    """Killed mid-request, its call breaks; the request beside it ends whole."""
    site, node, zygote = running.site, running.node, running.pieces["zygote"]
    with stopped(running.pieces["engine"]):
        second = asyncio.create_task(collected(running.address, node, "two"))
        (other,) = await site.until(lambda: workers(zygote))
        first = asyncio.create_task(collected(running.address, node, "one"))
        await site.until(lambda: len(workers(zygote)) == 2)
        (worker,) = workers(zygote) - {other}
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await first
    assert broken.value.details() == "internal"
    assert (await second)[-1].HasField("final")


async def test_workers_end_with_their_requests(running: Running) -> None:
    """A process of its own for each live request, and none of them has a second one."""
    site, node, zygote = running.site, running.node, running.pieces["zygote"]
    with stopped(running.pieces["engine"]):
        asking = [asyncio.create_task(collected(running.address, node, "Hello")) for _ in range(5)]
        await site.until(lambda: len(workers(zygote)) == len(asking))
        at_work = workers(zygote)
        asking[0].cancel()
        await site.until(lambda: len(workers(zygote)) == len(asking) - 1)
    for one in asking[1:]:
        assert (await one)[-1].HasField("final")
    await site.until(lambda: not at_work & parents().keys())
    await site.until(lambda: len(tree(zygote)) == 1 + SPARES)


async def test_a_spare_that_dies_is_missed_by_nobody(running: Running) -> None:
    """Spares killed while they wait: the next request gets another worker."""
    site, node, zygote = running.site, running.node, running.pieces["zygote"]
    spares = tree(zygote) - {zygote}
    for pid in spares:
        os.kill(pid, signal.SIGKILL)
    await site.until(lambda: not spares & parents().keys())
    assert (await collected(running.address, node, "Hello"))[-1].HasField("final")


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def collected(address: str, node: VerifiedNode, text: str) -> list[Any]:
    """Every frame of one answer."""
    return [frame async for frame in answers(address, node, seal([node], text))]
