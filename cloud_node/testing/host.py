"""What node processes need around them on one host: a log, a store, software evidence, a config."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud_node.identity import TlsIdentity, server_credentials
from cloud_node.keyfiles import write_secret
from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.node.release import measure_release
from cloud_node.processors import engine_processors
from cloud_node.service import PinnedEndpoint, start_grpc
from cloud_node.store import Store, open_store
from cloud_node.store.embedded import EmbeddedStore
from cloud_node.store.roles import Passwords, Role
from protos.lanai.v1alpha import bundle_pb2, log_pb2, log_pb2_grpc
from trust.attestation.release import Release
from trust.bundle import NodeBundle
from trust.log.merkle import leaf_hash
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.verification import VerifiedNode

__all__ = ["UnsafeHost", "WireLog", "open_host"]


class WireLog(log_pb2_grpc.LogServicer):
    """``Log.Inclusion`` over a world's log. ``release`` measures what is to be its newest leaf."""

    def __init__(self, world: UnsafeTrustWorld) -> None:
        self._world = world
        self.release: Callable[[], Release] = unsafe_release

    async def Inclusion(  # noqa: N802  the wire's name
        self, request: log_pb2.InclusionRequest, context: Any
    ) -> Any:
        """The proof for the release; for anything else none."""
        leaf = self.release().canonical()
        if leaf_hash(leaf) != request.leaf_hash:
            await context.abort(grpc.StatusCode.NOT_FOUND, "bad_request")
        index = self._world.append(leaf)
        hashes = self._world.tree.inclusion(index)
        return log_pb2.InclusionResponse(index=index, hashes=hashes, note=self._world.checkpoint())


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsafeHost:
    """Made by ``open_host``. ``config`` is of a node that uses all of it."""

    world: UnsafeTrustWorld
    store: Store
    config: NodeConfig

    async def announced(self) -> dict[bytes, VerifiedNode]:
        """Nodes in the store that a device would accept."""
        roster = await self.store.roster()
        return {node_id: self.verify(said) for node_id, said in roster.items()}

    def verify(self, said: bytes) -> VerifiedNode:
        """One announcement, as a device judges it."""
        signed = bundle_pb2.SignedAnnouncement.FromString(said)
        announcement = bundle_pb2.Announcement.FromString(signed.announcement)
        self.world.now = int(time.time())
        return self.world.verifier().verify(NodeBundle.from_proto(announcement.bundle))


@asynccontextmanager
async def open_host(
    folder: Path, model: Path, *, context_tokens: int, threads: int = 1
) -> AsyncIterator[UnsafeHost]:
    """A log and an embedded store below ``folder``, whose path is short: sockets live there."""
    world = UnsafeTrustWorld(now=int(time.time()))
    log = WireLog(world)  # type: ignore[abstract]  # nodes ask for inclusion only
    identity = TlsIdentity.generate("log")
    server, address = await start_grpc(
        partial(log_pb2_grpc.add_LogServicer_to_server, log), server_credentials(identity)
    )
    embedded = EmbeddedStore.start(folder / "store", folder / "s.sock", Passwords.generate())
    config = NodeConfig(
        name="node-0",
        profile="development",
        store_url=embedded.url(Role.NODE),
        log=PinnedEndpoint(address=address, certificate=identity.certificate_pem.decode()),
        model_folder=str(model),
        model_name="tiny",
        context_tokens=context_tokens,
        threads=threads,
        engine_processors=engine_processors(0, threads),
        announce_s=0.3,
        drain_s=5.0,
        evidence=EvidenceConfig(unsafe_software_key=_software_key(folder, world)),
    )
    log.release = partial(measure_release, config)
    store = open_store(embedded.url(Role.GATEWAY))
    try:
        yield UnsafeHost(world=world, store=store, config=config)
    finally:
        await store.close()
        await server.stop(None)
        embedded.stop()


def _software_key(folder: Path, world: UnsafeTrustWorld) -> Path:
    path = folder / "software.pem"
    key = world.operator_key
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
