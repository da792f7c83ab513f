"""Clusters side by side, parts that die, `up` stopped half-way, `down` that leaves nothing."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from cloud_node.cluster.enrolment import enrolled_here
from cloud_node.identity import open_channel
from protos.lanai.v1alpha import gateway_pb2_grpc

LANAI = str(Path(sys.executable).parent / "lanai")


def test_a_second_cluster_lives_beside_the_first_and_dies_alone(
    cluster, start_cluster, process_runs, eventually
) -> None:
    """Its store's death refuses, its gateway's cuts, its end leaves nothing; the first stays."""
    second = start_cluster("second")
    assert enrolled_here(cluster.layout)
    assert not enrolled_here(second.layout)
    assert cluster.relay.address != second.relay.address
    pids = asyncio.run(second.all_pids())
    assert len(pids) >= 8
    asyncio.run(_store_and_gateway_die(second, eventually))
    second.stop()
    assert [pid for pid in pids if process_runs(pid)] == []
    assert not second.layout.processes.exists()
    assert enrolled_here(cluster.layout)
    assert asyncio.run(_ask(cluster)) == "answered"


async def _ask(cluster) -> str:
    return await cluster.send(await cluster.frames(await cluster.token()))


async def _store_and_gateway_die(cluster, eventually) -> None:
    # The engine is held, so that the stream cannot end by itself.
    await cluster.hold_engines()
    frames, _ = cluster.seal(await cluster.frames(await cluster.token(), max_tokens=4000))
    unpaid = await cluster.frames(await cluster.token())
    channel = open_channel(cluster.relay.address, cluster.relay.certificate.encode())

    async def send():
        for frame in frames:
            yield frame

    try:
        answer = gateway_pb2_grpc.RelayStub(channel).Exchange(send(), timeout=60)
        await anext(aiter(answer))
        # Without the store nothing new can be paid for, and nothing is served.
        os.kill(cluster.entry("store").pid, signal.SIGKILL)
        path = cluster.layout.socket("store")
        await asyncio.to_thread(eventually, lambda: not _connects(path))
        assert await cluster.send(unpaid) == "store_unavailable"
        # The stream that was paid for went on; the gateway's death cuts it.
        os.kill(cluster.entry("gateway").pid, signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in answer:
                pass
    finally:
        await channel.close(None)


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_up_that_is_interrupted_leaves_nothing(
    command_environment, process_runs, eventually
) -> None:
    """Ctrl-C while parts start ends every one of them, with exit code 1."""
    up = subprocess.Popen([LANAI, "cloud", "up"], env=command_environment, stderr=subprocess.PIPE)
    try:
        table = Path(command_environment["LANAI_HOME"]) / "state/clusters/default/processes.json"
        eventually(lambda: table.exists() and len(_processes(table)) >= 4)
        pids = [entry["pid"] for entry in _processes(table)]
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=60)
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()
    assert up.returncode == 1
    assert b"stopping what was started" in said
    assert [pid for pid in pids if process_runs(pid)] == []
    assert not table.exists()


def test_what_cannot_be_started_says_why(command_environment, tmp_path) -> None:
    """A missing model, a production profile, a cluster that is not there: one line and a hint."""
    environment = command_environment | {"LANAI_CLOUD_MODEL": "no-such-model"}
    for arguments, code in (
        (("up",), 1),
        (("up", "--profile", "production"), 2),
        (("status",), 1),
    ):
        done = subprocess.run(
            [LANAI, "cloud", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "hint:" in done.stderr
        assert done.stdout == ""
    assert not list(Path(environment["LANAI_HOME"]).rglob("processes.json"))


def test_up_to_down_with_ray(command_environment, process_runs) -> None:
    """The command starts a supervised cluster, says so twice, drains a node, and ends all of it."""

    def lanai(*arguments: str) -> dict:
        done = subprocess.run(
            [LANAI, "cloud", *arguments, "--json"],
            env=command_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    try:
        found = lanai("up")
        assert {"nodes", "gateway", "issuer", "relay", "log", "store"} <= found.keys()
        assert found["ray"] is True
        assert found["device_enrolled"] is True
        assert found["nodes"][0]["verified"]
        assert lanai("up")["started"]["fresh"] is False
        assert lanai("drain", "node-0")["state"] == "draining"
        ray = json.loads(
            (
                Path(command_environment["LANAI_HOME"]) / "state/clusters/default/ray.json"
            ).read_text()
        )
        pids = [found[part]["pid"] for part in ("gateway", "issuer", "relay", "log", "store")]
        pids += _session(ray["session"])
    finally:
        lanai("down")
    assert len(pids) > 6
    assert [pid for pid in pids if process_runs(pid)] == []
    home = Path(command_environment["LANAI_HOME"])
    assert not (home / "state/trust/state.json").exists()


def _processes(table: Path) -> list[dict]:
    return json.loads(table.read_text())["processes"]


def _session(session: int) -> list[int]:
    """Processes of one session (/proc/PID/stat, field 6)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(stat[3]) == session:
                found.append(int(folder.name))
    return found
