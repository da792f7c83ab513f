"""A node as real processes: started, asked, killed, and never left behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from node_processes import parents, seal, tree, workers

from cloud_node.launcher_client import LauncherClient
from cloud_node.testing.direct import direct_answer as answers
from cloud_node.tree.nursery import SPARES
from protos.lanai.v1alpha import bundle_pb2

# The name conftest gives to its part, for types only.
Site = Any


async def start_launcher(site: Site, number: int = 0) -> tuple[Any, LauncherClient]:
    config = site.launcher(number)
    path = config.write(site.folder / f"launcher-{number}.json")
    process, ready = await site.start("cloud_node.launcher", "--config", str(path))
    assert json.loads(ready)["address"] == config.socket
    return process, LauncherClient(socket=Path(config.socket))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def launcher(shared_site: Site) -> LauncherClient:
    """One for tests that leave it with a node that runs, or that can be asked to."""
    _, client = await start_launcher(shared_site)
    return client


async def say(socket: Path, line: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(line)
    answer = json.loads(await reader.readline())
    writer.close()
    return dict(answer)


async def test_an_engine_has_its_processors_to_itself(site: Site) -> None:
    """Every thread of it runs there, a successor's too; no other process of the tree does."""
    here = sorted(os.sched_getaffinity(0))
    own = site.config.engine_processors
    assert own == (set() if len(here) == 1 else {here[-1]})
    process, _ = await site.start("cloud_node.node", "--config", str(site.write(site.config)))
    gone = 0
    for _ in range(2):
        await site.until(lambda gone=gone: placed_engine(process.pid, own or set(here)) - {gone})
        (gone,) = placed_engine(process.pid, own or set(here)) - {gone}
        assert {processors(int(thread)) for thread in os.listdir(f"/proc/{gone}/task")} == {
            frozenset(own or here)
        }
        others = {processors(pid) for pid in tree(process.pid) - {gone}} - {None}
        assert others == {frozenset(here) - own}
        os.kill(gone, signal.SIGKILL)


def placed_engine(node: int, own: set[int]) -> set[int]:
    """The engine of a node, once it is where it belongs: moved a moment after it was started."""
    found = {pid for pid in tree(node) if b"inference.child" in command(pid)}
    return {pid for pid in found if processors(pid) == own}


def processors(pid: int) -> frozenset[int] | None:
    """Where a process or thread may run; ``None`` when it has ended."""
    try:
        return frozenset(os.sched_getaffinity(pid))
    except ProcessLookupError:
        return None


async def test_a_node_process_serves_and_survives_its_engine(site: Site) -> None:
    """A device verifies the announced node, is answered, and is again after the engine dies."""
    path = site.write(site.config)
    process, ready = await site.start("cloud_node.node", "--config", str(path))
    address = json.loads(ready)["address"]
    node = await site.only_node()
    assert json.loads(ready)["node_id"] == node.node_id.hex()
    sealed = seal([node], "Hello")
    frames = [frame async for frame in answers(address, node, sealed)]
    assert (frames[-1].HasField("final"), sealed.opener.finished) == (True, True)

    (engine,) = [pid for pid in tree(process.pid) if b"inference.child" in command(pid)]
    # The engine is held, so that the answer cannot end by itself.
    os.kill(engine, signal.SIGSTOP)
    running = asyncio.create_task(collected(address, node, "again"))
    await site.until(lambda: workers(zygote(process.pid)))
    os.kill(engine, signal.SIGKILL)
    assert (await running)[-1].failure == "internal"

    async def answered() -> bool:
        try:
            got = await collected(address, node, "and now")
        except Exception:  # noqa: BLE001  busy while the engine comes back
            return False
        return bool(got[-1].final.output_tokens)

    await site.until(answered)
    process.terminate()
    await process.wait()
    assert (process.returncode, await site.store.roster()) == (0, {})


async def collected(address: str, node: Any, text: str) -> list[Any]:
    """Every frame of one answer."""
    return [frame async for frame in answers(address, node, seal([node], text))]


def zygote(node: int) -> int:
    """Of the pieces below a node's process; its workers have the same command line."""
    (found,) = [p for p, up in parents().items() if up == node and b"\0zygote\0" in command(p)]
    return found


def command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


async def test_sigterm_lets_live_requests_finish(site: Site) -> None:
    """A stream that is live when the node is told to stop ends whole; then the node is gone."""
    path = site.write(site.config.model_copy(update={"drain_s": 30.0}))
    process, ready = await site.start("cloud_node.node", "--config", str(path))
    node = await site.only_node()
    sealed = seal([node], "a long one", max_tokens=300)
    stream = answers(json.loads(ready)["address"], node, sealed)
    await anext(stream)
    process.terminate()
    rest = [frame async for frame in stream]
    assert (rest[-1].HasField("final"), sealed.opener.finished) == (True, True)
    assert await process.wait() == 0


async def test_the_launcher_knows_four_verbs_and_nothing_else(site: Site) -> None:
    """Start, drain, stop and status work; every other line is refused by a word."""
    process, launcher = await start_launcher(site)
    assert oct(os.stat(launcher.socket).st_mode & 0o777) == "0o600"
    assert (await launcher.status()).state == "stopped"
    for line, error in {
        b'{"verb": "restart"}\n': "unknown_verb",
        b'{"verb": "start", "config": "/etc/passwd"}\n': "malformed",
        b"start\n": "malformed",
        b'{"verb": "drain"}\n': "wrong_state",
    }.items():
        said = await say(launcher.socket, line)
        assert (said["ok"], said["error"]) == (False, error)

    started = await launcher.start()
    assert (started.ok, started.state, started.live) == (True, "running", 0)
    assert (await launcher.start()).pieces == started.pieces
    assert (await site.only_node()).node_id.hex() == started.node_id
    assert (await launcher.drain()).state == "draining"

    async def says_so() -> bool:
        said = (await site.store.roster()).values()
        return any(
            bundle_pb2.Announcement.FromString(
                bundle_pb2.SignedAnnouncement.FromString(one).announcement
            ).draining
            for one in said
        )

    await site.until(says_so)
    assert (await launcher.start()).error == "wrong_state"
    assert (await launcher.stop()).state == "stopped"
    assert await site.store.roster() == {}
    process.terminate()
    assert await process.wait() == 0
    assert not launcher.socket.exists()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["front", "keyholder", "zygote", "engine"])
async def test_a_piece_that_dies_is_brought_back(
    shared_site: Site, launcher: LauncherClient, name: str
) -> None:
    """After kill -9 of any piece the launcher starts it again, and a device is answered."""
    first = await launcher.start()
    os.kill(first.pieces[name], signal.SIGKILL)

    async def answered() -> bool:
        said = await launcher.status()
        roster = await shared_site.announced()
        if said.pieces.get(name) in (None, first.pieces[name]) or said.node_id is None:
            return False
        node = roster.get(bytes.fromhex(said.node_id))
        if node is None:
            return False
        try:
            frames = [one async for one in answers(said.address or "", node, seal([node], "hi"))]
        except grpc.aio.AioRpcError:  # busy while it comes back
            return False
        return frames[-1].HasField("final")

    await shared_site.until(answered)
    said = await launcher.status()
    others = {other for other in first.pieces if other != name}
    assert {other: said.pieces[other] for other in others} == {
        other: first.pieces[other] for other in others
    }
    assert (said.node_id != first.node_id) is (name in ("front", "keyholder"))


async def test_the_engine_is_replaced_without_dropping_a_request(site: Site) -> None:
    """Old and new engine live side by side until the request of the old one has ended."""
    short = site.config.model_copy(update={"engine_lifetime_s": 1.0})
    path = site.write(short)
    process, ready = await site.start("cloud_node.node", "--config", str(path))
    node = await site.only_node()
    address = json.loads(ready)["address"]
    seen: set[int] = set()
    async with asyncio.timeout(120):
        while len(seen) < 3:
            seen |= {pid for pid in tree(process.pid) if b"inference.child" in command(pid)}
            sealed = seal([node], "Hello")
            frames = [frame async for frame in answers(address, node, sealed)]
            assert (frames[-1].HasField("final"), sealed.opener.finished) == (True, True)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_that_cannot_be_mended_gives_up(
    shared_site: Site, launcher: LauncherClient
) -> None:
    """A piece that ends again and again ends the tree: "died", until it is asked to start."""
    first = await launcher.start()

    async def died() -> bool:
        said = await launcher.status()
        if (zygote := said.pieces.get("zygote")) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(zygote, signal.SIGKILL)
        return said.state == "died"

    await shared_site.until(died)
    second = await launcher.start()
    assert (second.state, second.node_id != first.node_id) == ("running", True)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_frozen_node_is_unresponsive(shared_site: Site, launcher: LauncherClient) -> None:
    """A stopped process (SIGSTOP) shows as unresponsive; a start replaces it."""
    first = await launcher.start()
    os.kill(first.pid or 0, signal.SIGSTOP)

    async def unresponsive() -> bool:
        return (await launcher.status()).state == "unresponsive"

    await shared_site.until(unresponsive)
    second = await launcher.start()
    assert (second.state, second.pid != first.pid) == ("running", True)
    assert not set(first.pieces.values()) & parents().keys()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_survives_the_launcher(site: Site, number: signal.Signals) -> None:
    """Every piece ends with its launcher, however it ends."""
    process, launcher = await start_launcher(site)
    await launcher.start()
    family = tree(process.pid)
    assert len(family) == 5 + SPARES
    process.send_signal(number)
    await process.wait()
    await site.until(lambda: not family & parents().keys())


async def test_unsafe_evidence_is_refused_in_production(site: Site) -> None:
    """A production configuration with a software key does not even parse."""
    path = site.write(site.config)
    text = path.read_text().replace('"development"', '"production"')
    path.write_text(text)
    process, ready = await site.start("cloud_node.node", "--config", str(path))
    assert (await process.wait(), ready) == (2, b"")


@pytest.mark.parametrize(
    "module",
    [
        "cloud_node.node.__main__",
        "cloud_node.launcher",
        "cloud_node.node.serving",
        "cloud_node.tree.keyholder_piece",
        "cloud_node.tree.zygote_piece",
    ],
)
def test_the_trusted_tree_imports_no_ray(module: str) -> None:
    """In a fresh interpreter no piece loads Ray, and none but the engine torch."""
    code = f"import {module}, sys; print('ray' in sys.modules, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
