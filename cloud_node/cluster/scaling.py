"""More nodes or fewer on this host, and draining one: a launcher for each, kept by Ray."""

from pathlib import Path
from typing import Final

from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import prepare_node
from cloud_node.cluster.plan import available_bytes
from cloud_node.cluster.processes import ProcessEntry, ProcessTable, end, rss_bytes
from cloud_node.cluster.starting import Starter
from cloud_node.cluster.supervision import supervise
from cloud_node.launcher_client import LauncherClient, LauncherStatus
from cloud_node.launcher_config import LauncherConfig
from cloud_node.node.config import NodeConfig
from cloud_node.processors import engine_processors
from cloud_node.service import load_config
from lanai.errors import CloudUnavailable, UsageError

__all__ = ["MOST_NODES", "drain", "scale"]

MOST_NODES: Final = 16
GRACE_S: Final = 20.0


async def scale(layout: ClusterLayout, nodes: int) -> None:
    """Have ``nodes`` nodes (1 to 16). A node that is taken away finishes what it has.

    Raises ``CloudUnavailable`` without Ray, without memory, or when a node does not come up.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise UsageError(f"a host runs 1 to {MOST_NODES} nodes")
    table = ProcessTable(layout.processes)
    running = [e for e in table.entries() if e.role.startswith("launcher-")]
    if not running:
        raise CloudUnavailable("no cluster is running", hint="`lanai cloud up` starts one")
    await _require_memory(layout, more=nodes - len(running))
    taken = {entry.role for entry in running}
    free = (f"launcher-{i}" for i in range(MOST_NODES) if f"launcher-{i}" not in taken)
    for role, _ in zip(free, range(nodes - len(running)), strict=False):
        running.append(await _start_launcher(layout, role, like=running[0].role))
    await supervise(layout, [layout.socket(entry.role) for entry in running[:nodes]])
    for entry in running[nodes:]:
        end(entry, grace_s=GRACE_S)
        table.drop(entry.role)


async def drain(layout: ClusterLayout, node: str) -> LauncherStatus:
    """Have a node take nothing new; ``node`` is its name or the beginning of its id.

    Raises ``UsageError`` unless exactly one node is meant.
    """
    found = []
    for path in layout.sockets:
        client = LauncherClient(socket=path)
        said = await client.status()
        name = path.stem.replace("launcher", "node")
        if node == name or (len(node) >= 4 and (said.node_id or "").startswith(node)):
            found.append(client)
    if len(found) != 1:
        raise UsageError(
            f"{node} names {len(found) or 'no'} running nodes", hint="see `lanai cloud status`"
        )
    status = await found[0].drain()
    if not status.ok:
        raise CloudUnavailable(f"the node cannot be drained: it is {status.state}")
    return status


async def _start_launcher(layout: ClusterLayout, role: str, *, like: str) -> ProcessEntry:
    """One more launcher, configured as ``like`` is but for names, sockets and files."""
    node = role.replace("launcher", "node")
    first = load_config(LauncherConfig, layout.config(like))
    pattern = load_config(NodeConfig, Path(first.node_config))
    own = engine_processors(int(node.rpartition("-")[2]), pattern.threads)
    config = pattern.model_copy(update={"name": node, "engine_processors": own})
    path = config.write(layout.config(node))
    prepare_node(layout, node, Isolation.of(layout))
    launcher = first.model_copy(
        update={
            "socket": str(layout.socket(role)),
            "node_config": str(path),
            "node_log": str(layout.log(node)),
        }
    )
    return await Starter(layout, ProcessTable(layout.processes)).start(
        role, "cloud_node.launcher", launcher
    )


async def _require_memory(layout: ClusterLayout, *, more: int) -> None:
    """A new node needs what the largest running one uses."""
    if more <= 0:
        return
    said = [await LauncherClient(socket=path).status() for path in layout.sockets]
    needed = more * max((sum(map(_tree_bytes, s.pieces.values())) for s in said), default=0)
    if (free := available_bytes()) < needed:
        raise CloudUnavailable(
            f"{more} more nodes need about {needed >> 20} MiB, {free >> 20} MiB are free",
            hint="scale to fewer nodes",
        )


def _tree_bytes(pid: int) -> int:
    """Resident memory of a process and its children: a zygote's are its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = children.read_text().split() if children.exists() else []
    return rss_bytes(pid) + sum(_tree_bytes(int(child)) for child in below)
