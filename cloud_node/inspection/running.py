"""Runs one node for whoever wants to look at it. Its tree is a node's own, unchanged.

1. A key for its evidence, made now and listed by no trust root.
2. A store of its own, in memory, that ends with the run: nobody else's roster learns of the node.
3. Proofs from a copy of the operator's log, served to the node alone.
4. The tree. Its keyholder measures what is installed, again, and has to find the same release.
5. Its bundle, and what a device of the root says to it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cloud_node.events import Component, EventLog
from cloud_node.identity import TlsIdentity, certificate_pem, server_credentials
from cloud_node.inspection.comparison import Comparison
from cloud_node.inspection.log_copy import LogCopy, LogMirror
from cloud_node.keyfiles import kept_key
from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint, start_grpc
from cloud_node.store import open_store
from cloud_node.store.embedded import EmbeddedStore
from cloud_node.store.roles import Passwords, Role
from cloud_node.tree.state import NodeState
from cloud_node.tree.tree import NodeTree
from lanai.errors import CloudUnavailable, ConfigError, EvidenceRejected, Rejection, TrustError
from protos.lanai.v1alpha import bundle_pb2, log_pb2_grpc
from trust.attestation import One, UnsafeSoftwarePolicy
from trust.attestation.configuration import MeasuredSettings
from trust.bundle import NodeBundle
from trust.root import Endpoint, TrustRoot
from trust.verification import NodeVerifier

__all__ = ["EVENTS", "InspectedNode", "open_inspection"]

START_S: Final = 120.0
END_S: Final = 5.0
NAME: Final = "inspected"
EVENTS: Final = "events.jsonl"
"""In the folder of the inspection: what its processes say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedNode:
    """A node that serves on loopback. ``reasons`` is why a device of the root refuses it."""

    tree: NodeTree
    store_pid: int
    bundle: NodeBundle
    reasons: tuple[str, ...]
    bundle_file: Path
    root_file: Path
    """A trust root that accepts this one node's evidence. Good for sending to it, nothing else."""
    events_file: Path
    """What its processes say, and all that they say."""

    @property
    def died(self) -> bool:
        """Whether the tree gave up."""
        return self.tree.state is NodeState.DIED


@asynccontextmanager
async def open_inspection(
    folder: Path,
    comparison: Comparison,
    settings: MeasuredSettings,
    log: LogCopy,
    root: TrustRoot,
    *,
    model_folder: Path,
    threads: int,
) -> AsyncIterator[InspectedNode]:
    """Start the node, and end everything on the way out. ``folder`` is private, its path short.

    Called on the main thread: what is started ends with it. Raises ``ConfigError``,
    ``CloudUnavailable``, ``StoreError``, ``EvidenceRejected``.
    """
    events_file = folder / EVENTS
    async with AsyncExitStack() as closing:
        stream = closing.enter_context(events_file.open("a", encoding="utf-8"))
        events = EventLog(Component.LAUNCHER, stream=stream)
        # 1.
        key = kept_key(folder / "software.pem").public_key().public_bytes_raw().hex()
        # 2.
        store = EmbeddedStore.start(folder / "store", folder / "s.sock", Passwords.generate())
        closing.callback(store.stop)
        # 3.
        mirror = LogMirror(log, events)  # type: ignore[abstract]  # nodes ask for inclusion only
        endpoint = await _serve(mirror, closing)
        # 4.
        config = _config(folder, comparison, settings, endpoint, store, model_folder, threads)
        tree = NodeTree(events)
        closing.push_async_callback(partial(tree.stop, within_s=END_S))
        await tree.start(config, log=events_file, within_s=START_S)
        # 5.
        bundle = await _announced(store)
        if bundle.release != comparison.here:
            raise EvidenceRejected("the node measured something else", reason=Rejection.MEASUREMENT)
        yield InspectedNode(
            tree=tree,
            store_pid=store.pid,
            bundle=bundle,
            reasons=_reasons(root, bundle),
            bundle_file=_written(folder / "bundle.bin", bundle.serialize()),
            root_file=_written(
                folder / "unsafe-trust-root.json",
                _unsafe_root(root, key, tree.address or "", bundle).to_json().encode("ascii"),
            ),
            events_file=events_file,
        )


async def _serve(mirror: LogMirror, closing: AsyncExitStack) -> PinnedEndpoint:
    identity = TlsIdentity.generate("log")
    server, address = await start_grpc(
        partial(log_pb2_grpc.add_LogServicer_to_server, mirror), server_credentials(identity)
    )
    closing.push_async_callback(partial(server.stop, None))
    return PinnedEndpoint(address=address, certificate=identity.certificate_pem.decode("ascii"))


def _config(
    folder: Path,
    comparison: Comparison,
    settings: MeasuredSettings,
    log: PinnedEndpoint,
    store: EmbeddedStore,
    model_folder: Path,
    threads: int,
) -> NodeConfig:
    release = comparison.here
    try:
        return NodeConfig(
            name=NAME,
            profile=settings.profile,  # type: ignore[arg-type]  # it checks
            unsafe_inspection=True,
            store_url=store.url(Role.NODE),
            log=log,
            model_folder=str(model_folder),
            model_name=release.model,
            context_tokens=release.context_tokens,
            threads=threads,
            key_lifetime_s=settings.key_lifetime_s,
            max_live=settings.max_live,
            request_timeout_s=settings.request_timeout_s,
            drain_s=END_S,
            evidence=EvidenceConfig(unsafe_software_key=folder / "software.pem"),
            golden={kind: dict(values) for kind, values in release.golden.items()},
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "settings"
        raise ConfigError(f"no node has such a configuration: {key}: {first['msg']}") from None


async def _announced(store: EmbeddedStore) -> NodeBundle:
    """The bundle of the one node there is. It is unverified, as for everybody else."""
    reader = open_store(store.url(Role.GATEWAY))
    try:
        roster = await reader.roster()
    finally:
        await reader.close()
    if len(roster) != 1:
        raise CloudUnavailable("the node did not announce itself", hint="its events say why")
    (said,) = roster.values()
    signed = bundle_pb2.SignedAnnouncement.FromString(said)
    announcement = bundle_pb2.Announcement.FromString(signed.announcement)
    return NodeBundle.from_proto(announcement.bundle)


def _reasons(root: TrustRoot, bundle: NodeBundle) -> tuple[str, ...]:
    """Why a device of ``root`` would not seal to this node; empty if it would."""
    try:
        NodeVerifier(root).verify(bundle)
    except TrustError as error:
        return (error.reason.value,)
    return ()


def _unsafe_root(root: TrustRoot, key: str, address: str, bundle: NodeBundle) -> TrustRoot:
    """``root`` with its log and witnesses, and the evidence of this one node.

    Nobody is reached by way of it: relay and issuer are this node, where they are not on loopback.
    """
    own = Endpoint(
        address=address, certificate=certificate_pem(bundle.tls_certificate).decode("ascii")
    )
    return replace(
        root,
        profile="development",
        relay=root.relay if root.relay.is_loopback else own,
        issuer=root.issuer if root.issuer.is_loopback else own,
        evidence=One(UnsafeSoftwarePolicy((key,))),
    )


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
