"""Ray as supervisor: it heals and scales nodes, and reaches nothing but the launchers' verbs."""

import contextlib
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud_node.launcher_client import LauncherClient
from cloud_node.raycluster import (
    RayConfig,
    RayHandle,
    ray_alive,
    ray_down,
    ray_up,
    supervise,
)

# The name conftest gives to its part, for types only.
Site = Any


def session_of(pid: str) -> int | None:
    try:
        fields = Path("/proc", pid, "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[3])


def members(session: int) -> set[int]:
    """Living processes of a process session."""
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and session_of(entry.name) == session
    }


def listening(pids: set[int]) -> set[str]:
    """Addresses that these processes listen on, in the hex of /proc/net/tcp."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # Ray starts processes that end at once
            for link in Path("/proc", str(pid), "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(link)
                    if target.startswith("socket:["):
                        sockets.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def read(path: str) -> str:
    return Path(path).read_text()


@pytest.fixture
async def ray(site: Site) -> AsyncIterator[RayHandle]:
    handle = await ray_up(
        RayConfig(folder=str(site.folder / "ray-files"), runtime=str(site.folder))
    )
    yield handle
    await ray_down(handle)


async def knock(handle: RayHandle, token: str | None) -> grpc.StatusCode:
    """What Ray's control service says to a caller who asks for the cluster's id."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(handle.address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(
            b"", metadata=metadata, timeout=10
        )
        return await call.code()


async def test_ray_is_closed_and_leaves_nothing(site: Site) -> None:
    """Loopback only, private folder, a token needed, and no process left when it is down."""
    handle = await ray_up(
        RayConfig(folder=str(site.folder / "ray-files"), runtime=str(site.folder))
    )
    try:
        assert ray_alive(handle)
        found = listening(members(handle.session))
        assert found
        assert found <= {"0100007F", "0000000000000000FFFF00000100007F"}
        for path in (Path(handle.temp).parent, Path(handle.token_file).parent):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(handle.token_file).st_mode) == 0o600
        token = read(handle.token_file)
        assert await knock(handle, None) is grpc.StatusCode.UNAUTHENTICATED
        assert await knock(handle, token[::-1]) is grpc.StatusCode.UNAUTHENTICATED
        assert await knock(handle, token) is grpc.StatusCode.OK
    finally:
        await ray_down(handle)
    assert not members(handle.session)
    assert Path(handle.temp).parent not in set(site.folder.iterdir())
    assert not ray_alive(handle)
    await ray_down(handle)


async def test_ray_heals_and_scales_nodes(site: Site, ray: RayHandle) -> None:
    """A killed node is replaced by its health check; fewer supervisors drain a node.

    Supervisors are as important to the kernel as what they look after.
    """
    launchers = []
    for number in range(2):
        config = site.launcher(number)
        path = config.write(site.folder / f"launcher-{number}.json")
        await site.start("cloud_node.launcher", "--config", str(path))
        launchers.append(LauncherClient(socket=Path(config.socket)))

    # Two supervisors, two nodes, none of them below Ray.
    await supervise(ray, [launcher.socket for launcher in launchers])
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in members(ray.session)} == {ours}

    async def two() -> dict[bytes, Any] | None:
        found = await site.announced()
        return found if len(found) == 2 else None

    before = await site.until(two)
    pids = [(await launcher.status()).pid for launcher in launchers]
    assert not {session_of(str(pid)) for pid in pids} & {ray.session}

    # kill -9: the old node leaves the roster, a new one with new keys joins it.
    os.kill(pids[0], signal.SIGKILL)
    killed = time.monotonic()

    async def replaced() -> bool:
        now = (await site.announced()).keys()
        return len(now) == 2 and len(now & before.keys()) == 1

    await site.until(replaced)
    print(f"replacement announced {time.monotonic() - killed:.1f} s after kill -9")

    # One supervisor fewer: its node drains and stops, the other is not touched.
    stays = launchers[0]
    kept = await stays.status()
    await supervise(ray, [stays.socket])
    assert [(await one.status()).state for one in launchers] == ["running", "stopped"]
    assert (await stays.status()).pid == kept.pid
    assert {node_id.hex() for node_id in await site.announced()} == {kept.node_id}

    # Taken away, the last supervisor takes its node along.
    await supervise(ray, [])
    assert (await stays.status()).state == "stopped"
    assert await site.announced() == {}
