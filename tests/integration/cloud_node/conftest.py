"""What real node processes need around them: a log, a store, a tiny model, and their files."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud_node.identity import TlsIdentity, server_credentials
from cloud_node.launcher_config import LauncherConfig
from cloud_node.node import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.node.release import measure_release
from cloud_node.service import PinnedEndpoint, start_grpc
from cloud_node.store import Store, open_store
from cloud_node.store.embedded import EmbeddedStore
from cloud_node.store.roles import Passwords, Role
from inference.testing import write_tiny_model
from protos.lanai.v1alpha import bundle_pb2, log_pb2, log_pb2_grpc
from trust.attestation import Release
from trust.bundle import NodeBundle
from trust.log.merkle import leaf_hash
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.verification import VerifiedNode


class WorldLog(log_pb2_grpc.LogServicer):
    """The wire's `Log.Inclusion` over a world's log of one release."""

    def __init__(self, world: UnsafeTrustWorld) -> None:
        self._world = world
        self.release: Callable[[], Release] = unsafe_release
        """Measures what is installed now: the operator who publishes it is quick here."""

    async def Inclusion(self, request: log_pb2.InclusionRequest, context: Any) -> Any:  # noqa: N802
        leaf = self.release().canonical()
        if leaf_hash(leaf) != request.leaf_hash:
            await context.abort(grpc.StatusCode.NOT_FOUND, "bad_request")
        index = self._world.append(leaf)
        return log_pb2.InclusionResponse(
            index=index,
            hashes=self._world.tree.inclusion(index),
            note=self._world.checkpoint(),
        )


@dataclass(kw_only=True)
class Site:
    """One host: its folder, store, log and trust, and the processes a test starts on it."""

    folder: Path
    world: UnsafeTrustWorld
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
        roster = await self.store.roster()
        return {node_id: self.verify(said) for node_id, said in roster.items()}

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

    def verify(self, said: bytes) -> VerifiedNode:
        signed = bundle_pb2.SignedAnnouncement.FromString(said)
        announcement = bundle_pb2.Announcement.FromString(signed.announcement)
        self.world.now = int(time.time())
        return self.world.verifier().verify(NodeBundle.from_proto(announcement.bundle))

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
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:  # short: sockets live below it
        folder = Path(name)
        world = UnsafeTrustWorld(now=int(time.time()))
        log, identity = WorldLog(world), TlsIdentity.generate("log")
        server, address = await start_grpc(
            partial(log_pb2_grpc.add_LogServicer_to_server, log), server_credentials(identity)
        )
        embedded = EmbeddedStore.start(folder / "store", folder / "s.sock", Passwords.generate())
        config = NodeConfig(
            name="node-0",
            profile="development",
            store_url=embedded.url(Role.NODE),
            log=PinnedEndpoint(address=address, certificate=identity.certificate_pem.decode()),
            model_folder=str(tiny_model),
            model_name="tiny",
            context_tokens=512,
            threads=1,
            announce_s=0.3,
            drain_s=5.0,
            evidence=EvidenceConfig(unsafe_software_key=write_key(folder / "software.pem", world)),
        )
        log.release = partial(measure_release, config)
        store = open_store(embedded.url(Role.GATEWAY))
        host = Site(folder=folder, world=world, store=store, config=config)
        try:
            yield host
        finally:
            await host.end_processes()
            await store.close()
            await server.stop(None)
            embedded.stop()


def write_key(path: Path, world: UnsafeTrustWorld) -> Path:
    path.write_bytes(
        world.operator_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path
