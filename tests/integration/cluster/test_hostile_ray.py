"""A hostile member of the cluster's Ray, beside users of their own: it gets nothing.

Root runs all of this. Anybody else has no users to give away: then `status` must claim nothing.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from node_processes import workers

from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.processes import ProcessTable
from cloud_node.cluster.supervision import ray_pids
from cloud_node.cluster.users import uids_running
from cloud_node.cluster.views import verified_nodes
from cloud_node.identity import certificate_pem, open_channel
from cloud_node.launcher_client import LauncherClient
from cloud_node.process_user import process_environment
from cloud_node.raycluster import ENVIRONMENT, RayHandle
from cloud_node.service import load_config
from lanai.folders import Folders
from protos.lanai.v1alpha import gateway_pb2, gateway_pb2_grpc, node_pb2

MEMBER = Path(__file__).with_name("hostile_member.py")
LANAI = Path(sys.executable).parent / "lanai"
REPOSITORY = Path(__file__).resolve().parents[3]
MARK = "ebb-tide-7f21c9d4-marked-request"
REFUSED = {"EACCES", "EPERM"}
# What any user may read: the trust root is public, and a claim is there to be locked.
OPEN_TO_READ = {"trust-root.json", "launcher-0.claim", "launcher-1.claim"}
# The software of this installation, seen by other users although a home in the way is closed. The
# mounts are in a namespace of their own: nothing on this machine changes.
VIEW = """
set -e
barrier=$1; shift
held=$(mktemp -d)
n=0
for path in "$@"; do n=$((n+1)); mkdir $held/$n; mount --bind "$path" $held/$n; done
mount -t tmpfs -o mode=0711 none "$barrier"
n=0
for path in "$@"; do n=$((n+1)); mkdir -p "$path"; mount --move $held/$n "$path"; done
rm -r $held
echo ready
exec sleep infinity
"""


@dataclass(kw_only=True)
class Host:
    """Where the command is run: as root, with software that every user can read."""

    prefix: list[str]
    environment: dict[str, str]

    @property
    def folders(self) -> Folders:
        return Folders.below(Path(self.environment["LANAI_HOME"]))

    def lanai(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [*self.prefix, str(LANAI), "cloud", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr + self._why()
        return dict(json.loads(done.stdout)) if code == 0 else {"stderr": done.stderr}

    def _why(self) -> str:
        """What the parts said of it, since their folder is gone with the test.

        A `ConfigError` of the event file is a checkout that was edited meanwhile: each node
        measures the release that it is, and another one does not join.
        """
        logs = sorted(self.folders.state.glob("clusters/*/logs/*"))
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return "\n".join(line for line in lines if '"failed"' in line or "rror" in line)


@pytest.fixture(scope="module")
def host(tiny_model: Path) -> Iterator[Host]:
    """A home that other users may pass; the model in it, which they may read."""
    with ExitStack() as cleanup:
        home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lanai-")))
        home.chmod(0o711)
        shutil.copytree(tiny_model, home / "model")
        subprocess.run(["chmod", "-R", "a+rX", home / "model"], check=True)
        environment = os.environ | {
            "LANAI_HOME": str(home),
            "LANAI_CLOUD_MODEL": str(home / "model"),
            "LANAI_CLOUD_CONTEXT_TOKENS": "4096",
            "LANAI_CLOUD_THREADS": "1",
        }
        found = Host(prefix=[], environment=environment)
        if os.geteuid() == 0 and not _anybody_can_run():
            found.prefix = cleanup.enter_context(_opened_view())
        cleanup.callback(found.lanai, "down")
        yield found


def _anybody_can_run() -> bool:
    """Whether a user without any rights can start this Python and load what is installed."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import cloud_node, ray"],
            user=65534,
            group=65534,
            extra_groups=[],
            env={},
            cwd="/",
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


@contextmanager
def _opened_view() -> Iterator[list[str]]:
    """Runs commands in a mount namespace where the closed home holds the software alone."""
    base = Path(sys.base_prefix).resolve()
    barrier = next(at for at in reversed(base.parents) if not at.stat().st_mode & 0o001)
    parts = sorted({base, Path(sys.prefix).resolve(), REPOSITORY})
    needed = [str(part) for part in parts if part.is_relative_to(barrier)]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", VIEW, "view"]
    holder = subprocess.Popen(
        [*command, str(barrier), *needed], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n", "root must be able to mount here"
        yield ["nsenter", "--target", str(holder.pid), "--mount"]
    finally:
        holder.kill()
        holder.communicate()


def run_member(host: Host, handle: RayHandle, spec: dict[str, Any], *, by_ray: bool) -> Any:
    """The attack as a Ray task of the cluster's Ray user, or right here as root."""
    command, environment = [sys.executable, "-P", str(MEMBER), "here"], dict(os.environ)
    if by_ray:
        assert handle.user is not None
        number = str(handle.user.uid)
        command = [
            *("setpriv", "--reuid", number, "--regid", number, "--clear-groups"),
            *(sys.executable, "-P", "-c", MEMBER.read_text(), "ray", handle.address),
        ]
        token = {"RAY_AUTH_TOKEN_PATH": handle.token_file}
        environment = process_environment(handle.user) | ENVIRONMENT | token
    done = subprocess.run(
        [*host.prefix, *command],
        input=json.dumps(spec),
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_many_users_are_run_as_one(host, running_cluster, eventually) -> None:
    """Up killed half-way, down, up over old folders, scale, rotate, drain: with the same users.

    What is up then is what the next test begins with.
    """
    if os.geteuid() != 0:
        assert not Isolation.of(running_cluster(host.folders, "default").layout).separate
        return
    layout = running_cluster(host.folders, "default").layout
    _killed_half_way(host, layout, eventually)
    users = {user.uid for user in Isolation.of(layout).users.values()}
    assert users & uids_running().keys(), "what the killed `up` left"
    host.lanai("down")
    assert not users & uids_running().keys()
    for log in layout.log("x").parent.iterdir():
        log.unlink()

    host.lanai("up")
    assert {user.uid for user in Isolation.of(layout).users.values()} == users
    said = host.lanai("scale", "2")
    assert [node["verified"] for node in said["nodes"]] == [True, True]
    assert said["isolation"] == "separate-users"
    rotated = host.lanai("rotate-keys")
    assert rotated["log"]["size"] >= 5
    assert host.lanai("rotate-keys", "--trust", "snapshot")["trust_root"]["root"] == 2
    assert host.lanai("drain", "node-1")["state"] == "draining"
    assert len(host.lanai("scale", "1")["nodes"]) == 1
    failed = [path.name for path in layout.log("x").parent.iterdir() if _failed(path)]
    assert not failed
    refused = subprocess.run(
        [*host.prefix, "setpriv", "--reuid", "65534", str(LANAI), "cloud", "down"],
        env=host.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2, refused.stderr
    assert "has files of root" in refused.stderr


def _killed_half_way(host: Host, layout: Any, eventually: Any) -> None:
    up = subprocess.Popen([*host.prefix, str(LANAI), "cloud", "up"], env=host.environment)
    try:
        eventually(lambda: len(ProcessTable(layout.processes).entries()) >= 4)
    finally:
        up.kill()
        up.wait()


def _failed(log: Path) -> bool:
    return '"event": "failed"' in log.read_text()


async def test_a_hostile_member_gets_nothing(host, running_cluster) -> None:
    """With the token, while a marked request runs: no memory, no ptrace, no file, no plaintext.

    Each attempt works for root in the same moment, or against a process of the member's own user.
    """
    said = host.lanai("up")
    if os.geteuid() != 0:
        assert said["isolation"] == "same-user"
        assert said["isolation_reason"] == "it was not started as root"
        return
    assert (said["isolation"], said["isolation_reason"]) == ("separate-users", None)
    cluster = running_cluster(host.folders, "default")
    handle = load_config(RayHandle, cluster.layout.ray)

    captured = await cluster.frames(await cluster.token(), text=MARK)
    assert await cluster.send(captured) == "answered"
    running = await cluster.frames(await cluster.token(), text=f"{MARK} {'wave ' * 40}")
    async with _held_stream(cluster, running) as finish:
        spec = await _targets(cluster, [captured, running])
        told = await asyncio.to_thread(run_member, host, handle, spec, by_ray=True)
        control = {**spec, "launcher": None, "node": None, "survive": False}
        root = await asyncio.to_thread(run_member, host, handle, control, by_ray=False)
        assert await finish(), "and the request was not disturbed"

    assert (told["uid"], root["uid"]) == (handle.user.uid, 0)
    for kind in ("processes", "files", "writes", "folders", "sockets"):
        opened = {
            name: outcome
            for name, outcome in told[kind].items()
            if outcome not in REFUSED and Path(name).name not in OPEN_TO_READ
        }
        assert not opened, kind
        assert told[kind].keys() == root[kind].keys()
        closed = {name: word for name, word in root[kind].items() if not word.startswith("got")}
        assert not closed, "the control"
    assert all(outcome.startswith("got") for outcome in told["own"].values()), told["own"]
    assert root["processes"]["worker/mem"] == "got the mark"
    assert set(told["writes"].values()) <= REFUSED
    _four_verbs_and_no_more(told["launcher"], spec["processes"])
    assert told["node"][0] == "nothing"
    assert told["node"][1:] == ["replayed", "replayed", "envelope_rejected"]
    assert MARK not in json.dumps(told)
    # What left Ray's session ends with the cluster all the same.
    assert told["survivor"] in uids_running()[handle.user.uid]
    users = {user.uid for user in Isolation.of(cluster.layout).users.values()}
    assert handle.user.uid in users
    host.lanai("down")
    assert not users & uids_running().keys()


def _four_verbs_and_no_more(answers: list[Any], processes: dict[str, int]) -> None:
    status, *refused, first, again = answers
    assert status["ok"]
    words = [answer and (answer["ok"], answer["error"]) for answer in refused]
    # It hangs up on the last one, which is longer than any line.
    expected = ["unknown_verb"] * 2 + ["malformed", "unknown_verb"] + ["malformed"] * 2
    assert words == [*((False, word) for word in expected), None]
    assert [answer["pieces"] for answer in (first, again)] == [status["pieces"]] * 2
    assert {pid for name, pid in processes.items() if name in status["pieces"]} == set(
        status["pieces"].values()
    )


@asynccontextmanager
async def _held_stream(cluster: Any, frames: list[gateway_pb2.Opaque]) -> AsyncIterator[Any]:
    """A request whose engine stands still; what it yields lets it go on, and reads the answer."""
    sealed, _ = cluster.seal(frames)
    channel = open_channel(cluster.relay.address, cluster.relay.certificate.encode())

    async def send() -> Any:
        for frame in sealed:
            yield frame

    async def finish() -> bool:
        await cluster.signal_engines(signal.SIGCONT)
        return bool([piece async for piece in answer])

    try:
        # The request before may have its worker still.
        await _until(cluster, lambda found: not found)
        await cluster.signal_engines(signal.SIGSTOP)
        answer = gateway_pb2_grpc.RelayStub(channel).Exchange(send(), timeout=300)
        await anext(aiter(answer))
        yield finish
    finally:
        await channel.close(None)


async def _until(cluster: Any, enough: Callable[[set[int]], bool]) -> set[int]:
    """The node's workers with a request, as soon as they are as they should be."""
    said = await LauncherClient(socket=cluster.layout.socket("launcher-0")).status()
    async with asyncio.timeout(60):
        while not enough(found := workers(said.pieces["zygote"])):
            await asyncio.sleep(0.02)
    return found


async def _targets(cluster: Any, requests: list[list[gateway_pb2.Opaque]]) -> dict[str, Any]:
    """Everything of the cluster that is not Ray's own."""
    layout = cluster.layout
    said = await LauncherClient(socket=layout.socket("launcher-0")).status()
    (worker,) = await _until(cluster, bool)  # the marked request's
    processes = {entry.role: entry.pid for entry in cluster.entries()}
    processes |= {str(name): pid for name, pid in said.pieces.items()} | {"worker": worker}
    assert not set(processes.values()) & set(ray_pids(layout))
    rays = (layout.own("ray"), layout.runtime / "ray")
    below = [path for top in (layout.folder, layout.runtime) for path in (top, *top.rglob("*"))]
    below = [path for path in below if not any(path.is_relative_to(ray) for ray in rays)]
    passed = [_as_the_node_takes_it(frames) for frames in requests]
    return {
        "mark": MARK,
        "processes": processes,
        "files": [str(path) for path in below if path.is_file()],
        "folders": [str(path) for path in below if path.is_dir()],
        "sockets": [str(p) for p in below if p.is_socket() and p != layout.socket("launcher-0")],
        "launcher": str(layout.socket("launcher-0")),
        "node": {"address": said.address, "certificate": await _certificate(cluster)},
        "requests": [*passed, _forged(passed[0])],
        "survive": True,
    }


async def _certificate(cluster: Any) -> str:
    [node] = await verified_nodes("relay", cluster.relay, cluster.root)
    return certificate_pem(node.tls_certificate).decode()


def _as_the_node_takes_it(frames: list[gateway_pb2.Opaque]) -> list[str]:
    """The frames that the gateway passes on to the node: what a wire in between shows."""
    passed = []
    for frame in map(gateway_pb2.GatewayFrame.FromString, (f.payload for f in frames)):
        if frame.HasField("open"):
            passed.append(node_pb2.InferRequest(header=frame.open.header))
        else:
            passed.append(node_pb2.InferRequest(chunk=frame.chunk))
    return [one.SerializeToString().hex() for one in passed]


def _forged(frames: list[str]) -> list[str]:
    """Another request id: nothing that anybody sealed."""
    first = node_pb2.InferRequest.FromString(bytes.fromhex(frames[0]))
    first.header.request_id = b"hostile-request!"
    return [first.SerializeToString().hex(), *frames[1:]]
