"""Whole clusters of real processes on loopback, with a model of random weights."""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.plan import ClusterPlan
from cloud_node.cluster.processes import ProcessEntry, ProcessTable, is_alive
from cloud_node.cluster.up import down, up
from cloud_node.cluster.views import verified_nodes
from cloud_node.identity import open_channel
from cloud_node.launcher_client import LauncherClient
from cloud_node.service import PinnedEndpoint
from device_agent.cloud import CloudClient
from inference.testing import write_tiny_model
from lanai.content import Content
from lanai.folders import Folders
from lanai.settings import Settings
from protos.lanai.v1alpha import gateway_pb2, gateway_pb2_grpc, issuer_pb2, issuer_pb2_grpc
from protos.lanai.v1alpha.envelope_pb2 import Message, RequestBody
from trust.envelope import seal_request
from trust.ohttp import EXCHANGE, RequestSealer, ResponseOpener, configuration_of
from trust.root import TrustRoot
from trust.tokens import Token, begin
from trust.updates.testing import unsafe_enrol

CONTEXT_TOKENS = 4096


@dataclass(kw_only=True)
class Cluster:
    """A running cluster, and a device that seals and spends by hand."""

    folders: Folders
    layout: ClusterLayout
    pids: list[int] = field(default_factory=list)

    @property
    def root(self) -> TrustRoot:
        return TrustRoot.from_json(self.layout.trust_root.read_text())

    @property
    def relay(self) -> PinnedEndpoint:
        endpoint = self.root.relay
        return PinnedEndpoint(address=endpoint.address, certificate=endpoint.certificate)

    def entries(self) -> list[ProcessEntry]:
        return ProcessTable(self.layout.processes).entries()

    def entry(self, role: str) -> ProcessEntry:
        return next(entry for entry in self.entries() if entry.role == role)

    async def all_pids(self) -> list[int]:
        """Every process of the cluster, the nodes' trees included."""
        said = [await LauncherClient(socket=path).status() for path in self.layout.sockets]
        tops = [e.pid for e in self.entries()] + [p for s in said for p in s.pieces.values()]
        return [pid for top in tops for pid in tree(top)]

    async def hold_engines(self) -> None:
        """Stop (SIGSTOP) the engine of each node; ending it works all the same."""
        await self.signal_engines(signal.SIGSTOP)

    async def signal_engines(self, number: signal.Signals) -> None:
        for path in self.layout.sockets:
            said = await LauncherClient(socket=path).status()
            os.kill(said.pieces["engine"], number)

    def client(self) -> CloudClient:
        """The real device client, enrolled in this cluster."""
        home = Folders.below(Path(tempfile.mkdtemp(dir=self.folders.state)))
        unsafe_enrol(home.state, self.root)
        target = home.state / "account.json"
        target.touch(mode=0o600)
        target.write_text(self.layout.account.read_text())
        made = CloudClient.enrolled(home, Settings())
        assert made is not None
        return made

    async def token(self) -> Token:
        """A fresh token from the cluster's issuer."""
        account = json.loads(self.layout.account.read_text())
        root = self.root
        key = self.layout.ring("issuer").read()[0].record.key
        pending = begin(key, bytes.fromhex(root.token_challenge), 1)
        channel = open_channel(root.issuer.address, root.issuer.certificate.encode())
        try:
            answer = await issuer_pb2_grpc.IssuerStub(channel).Issue(
                issuer_pb2.IssueRequest(
                    account=account["account"],
                    credential=bytes.fromhex(account["credential"]),
                    token_key_id=pending.key_id,
                    blinded=pending.blinded,
                ),
                timeout=10,
            )
        finally:
            await channel.close(None)
        return pending.finish(answer.signatures)[0]

    async def frames(
        self,
        token: Token,
        *,
        max_tokens: int = 4,
        request_id: bytes | None = None,
        text: str = "hello",
    ) -> list[gateway_pb2.Opaque]:
        """A whole sealed request as the relay takes it."""
        nodes = await verified_nodes("relay", self.relay, self.root)
        body = RequestBody(
            messages=[Message(role="user", text=Content(text))], max_tokens=max_tokens, top_p=1
        )
        sealed = seal_request(
            body.SerializeToString(),
            nodes,
            token_hash=token.hash,
            policy_digest=self.root.policy_digest,
            expires_at=int(time.time()) + 300,
            request_id=request_id,
        )
        spend = gateway_pb2.Spend(
            token=token.bytes,
            holder_key=token.holder_key,
            holder_signature=token.sign(sealed.header.digest()),
        )
        frames = [
            gateway_pb2.GatewayFrame(
                open=gateway_pb2.Open(spend=spend, header=sealed.header.to_proto())
            )
        ]
        frames += [gateway_pb2.GatewayFrame(chunk=c.to_proto()) for c in sealed.chunks]
        return [gateway_pb2.Opaque(payload=f.SerializeToString()) for f in frames]

    def seal(
        self, frames: list[gateway_pb2.Opaque]
    ) -> tuple[list[gateway_pb2.Opaque], ResponseOpener]:
        """The frames sealed to the gateway, and what opens its answer."""
        key = self.layout.ring("gateway").read()[0].record.key
        sealer = RequestSealer(configuration_of(key), media=EXCHANGE)
        last = len(frames) - 1
        pieces = [sealer.seal(f.payload, final=i == last) for i, f in enumerate(frames)]
        return [gateway_pb2.Opaque(payload=piece) for piece in pieces], sealer.response()

    async def send(self, frames: list[gateway_pb2.Opaque]) -> str:
        """Seal and send; the refusal's word, or ``answered``."""
        sealed, opener = self.seal(frames)
        word = b""
        channel = open_channel(self.relay.address, self.relay.certificate.encode())
        try:
            stub = gateway_pb2_grpc.RelayStub(channel)
            async for answer in stub.Exchange(_each(sealed), timeout=30):
                word = opener.open(answer.payload)
        except grpc.aio.AioRpcError as error:
            return str(error.details())
        finally:
            await channel.close(None)
        return word.decode() if opener.ended and word else "answered"

    def stop(self) -> None:
        asyncio.run(down(self.layout, say=lambda line: None))


async def _each(frames):
    for frame in frames:
        yield frame


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(child for c in below for child in tree(int(c)))]


def runs(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def cluster_folders() -> Iterator[Folders]:
    # Short: sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="lanai-") as home:
        yield Folders.below(Path(home))


@pytest.fixture(scope="session")
def start_cluster(cluster_folders: Folders, tiny_model: Path) -> Iterator[Callable]:
    """Starts a cluster without Ray by name; every one is stopped at the end."""
    started: list[Cluster] = []

    def start(name: str) -> Cluster:
        plan = ClusterPlan(
            profile="development",
            model_name="tiny",
            model_folder=tiny_model,
            model_bytes=0,
            context_tokens=CONTEXT_TOKENS,
            threads=1,
            supervised=False,
        )
        layout = ClusterLayout.of(cluster_folders, name)
        asyncio.run(up(cluster_folders, layout, plan, say=lambda line: None))
        started.append(Cluster(folders=cluster_folders, layout=layout))
        return started[-1]

    yield start
    for cluster in started:
        cluster.stop()
    leftover = [e for c in started for e in c.entries() if is_alive(e)]
    assert not leftover


@pytest.fixture(scope="session")
def cluster(start_cluster: Callable) -> Cluster:
    return start_cluster("first")


@pytest.fixture(scope="session")
def running_cluster() -> Callable[[Folders, str], Cluster]:
    """Looks at a cluster that the `lanai` command started."""
    return lambda folders, name: Cluster(folders=folders, layout=ClusterLayout.of(folders, name))


@pytest.fixture
def process_runs() -> Callable[[int], bool]:
    return runs


@pytest.fixture
def eventually() -> Callable:
    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait


@pytest.fixture
def command_environment(tiny_model: Path) -> Iterator[dict[str, str]]:
    """What the `lanai` command needs to run a cluster of its own."""
    with tempfile.TemporaryDirectory(prefix="lanai-") as home:
        yield os.environ | {
            "LANAI_HOME": home,
            "LANAI_CLOUD_MODEL": str(tiny_model),
            "LANAI_CLOUD_CONTEXT_TOKENS": "256",
            "LANAI_CLOUD_THREADS": "1",
        }
