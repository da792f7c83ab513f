"""What runs of a cluster, asked of each part itself."""

import asyncio
import json
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final, TypeVar

from cloud_node.cluster import enrolment
from cloud_node.cluster.isolation import observed
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessEntry, ProcessTable, is_alive, rss_bytes
from cloud_node.cluster.supervision import ray_pids, ray_runs
from cloud_node.cluster.views import listening, log_note, verified_nodes
from cloud_node.gateway.process import GatewayConfig
from cloud_node.keyfiles import read_identity
from cloud_node.launcher_client import LauncherClient, LauncherStatus
from cloud_node.service import PinnedEndpoint, load_config
from cloud_node.store import open_store
from lanai.errors import CloudUnavailable, LanaiError
from trust.log.checkpoint import Checkpoint
from trust.log.notes import open_note
from trust.root import TrustRoot
from trust.verification import VerifiedNode

__all__ = ["status"]

T = TypeVar("T")
PARTS: Final = ("gateway", "issuer", "relay", "log", "store", "witness")


async def status(layout: ClusterLayout) -> dict[str, Any]:
    """The cluster as one JSON-ready value. Raises ``CloudUnavailable`` when none was started.

    A part is ``alive`` when its process runs, ``ready`` when it answered just now.
    """
    entries = {entry.role: entry for entry in ProcessTable(layout.processes).entries()}
    if not entries:
        raise CloudUnavailable(
            f"no cluster named {layout.name} is running", hint="`lanai cloud up` starts one"
        )
    root = TrustRoot.from_json(layout.trust_root.read_text(encoding="utf-8"))
    parts = await asyncio.gather(*(_part(layout, root, role, entries) for role in PARTS))
    nodes = await _nodes(layout, root, entries)
    isolation, reason = observed(layout, _processes(layout, entries, nodes))
    return {
        "name": layout.name,
        **json.loads(layout.identity_file.read_text(encoding="utf-8")),
        "isolation": isolation,
        "isolation_reason": reason,
        "device_enrolled": enrolment.enrolled_here(layout),
        "nodes": nodes,
        **dict(zip(PARTS, parts, strict=True)),
        "ray": ray_runs(layout),
    }


async def _part(
    layout: ClusterLayout, root: TrustRoot, role: str, entries: dict[str, ProcessEntry]
) -> dict[str, Any]:
    entry = entries.get(role)
    if entry is None or not is_alive(entry):
        return {"alive": False, "ready": False}
    found: dict[str, Any] = {
        "alive": True,
        "ready": True,
        "pid": entry.pid,
        "address": entry.address,
        "rss_mb": rss_bytes(entry.pid) >> 20,
    }
    try:
        return found | await _answer(layout, root, role, entry)
    except LanaiError as error:
        return found | {"ready": False, "reason": error.message}


async def _answer(
    layout: ClusterLayout, root: TrustRoot, role: str, entry: ProcessEntry
) -> dict[str, Any]:
    """What the part says when asked. Raises a ``LanaiError`` when it does not answer."""
    if role == "store":
        return await _ping(layout)
    endpoint = _endpoint(layout, role, entry)
    if role == "relay" or role == "gateway":
        return {"verified_nodes": len(await verified_nodes(role, endpoint, root))}
    if role == "log":
        note = open_note(await log_note(endpoint), [root.log_verifier, *root.witness_verifiers])
        checkpoint = Checkpoint.parse(note.text)
        witnesses = sorted(name for name, time in note.signers.items() if time)
        return {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "witnesses": witnesses,
            "url": f"{load_config(GatewayConfig, layout.config('gateway')).static_url}/log",
        }
    await listening(endpoint)
    return {}


async def _ping(layout: ClusterLayout) -> dict[str, Any]:
    # The gateway's login: the operator has no other one, and needs no more.
    store = open_store(load_config(GatewayConfig, layout.config("gateway")).store_url)
    try:
        await store.ping()
    finally:
        await store.close()
    return {}


async def _nodes(
    layout: ClusterLayout, root: TrustRoot, entries: dict[str, ProcessEntry]
) -> list[dict[str, Any]]:
    """Each launcher's node, joined with what verifies of it."""
    verified: dict[str, VerifiedNode] = {}
    if (relay := entries.get("relay")) is not None and relay.address:
        answer = await _quiet(verified_nodes("relay", _endpoint(layout, "relay", relay), root))
        verified = {node.node_id.hex(): node for node in answer or ()}
    launchers = [role for role in entries if role.startswith("launcher-")]
    return [_node(role, await _ask(layout, role), verified) for role in sorted(launchers)]


async def _ask(layout: ClusterLayout, role: str) -> LauncherStatus | None:
    return await _quiet(LauncherClient(socket=layout.socket(role)).status())


def _node(
    role: str, said: LauncherStatus | None, verified: dict[str, VerifiedNode]
) -> dict[str, Any]:
    node = verified.get(said.node_id or "") if said else None
    return {
        "name": role.replace("launcher", "node"),
        "id": said.node_id if said else None,
        "state": str(said.state) if said else "unknown",
        "live_streams": said.live if said else 0,
        "address": said.address if said else None,
        "pid": said.pid if said else None,
        "rss_mb": sum(map(rss_bytes, said.pieces.values())) >> 20 if said else 0,
        "verified": node is not None,
        "evidence": node.evidence_kind if node else None,
        "measurement": node.measurement if node else None,
        "model": node.model if node else None,
        "pieces": dict(said.pieces) if said else {},
        "missing": list(said.missing) if said else [],
    }


def _processes(
    layout: ClusterLayout, entries: dict[str, ProcessEntry], nodes: Sequence[dict[str, Any]]
) -> Iterable[tuple[str, int]]:
    """Every process of the cluster with its role: what must run as the user of that role."""
    yield from ((role, entry.pid) for role, entry in entries.items() if is_alive(entry))
    yield from (("ray", pid) for pid in ray_pids(layout))
    for node in nodes:
        yield from ((node["name"], pid) for pid in node["pieces"].values())


async def _quiet(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except LanaiError:
        return None


def _endpoint(layout: ClusterLayout, role: str, entry: ProcessEntry) -> PinnedEndpoint:
    certificate = read_identity(layout.key(role)).certificate_pem.decode("ascii")
    return PinnedEndpoint(address=entry.address, certificate=certificate)
