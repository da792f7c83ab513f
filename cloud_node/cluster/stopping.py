"""Stops a cluster, whole or half-started, from the outside in."""

import asyncio
from collections.abc import Callable
from typing import Final

from cloud_node.cluster import enrolment
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessEntry, ProcessTable, end
from cloud_node.cluster.supervision import stop_ray

__all__ = ["stop_all"]

GRACE_S: Final = 5.0
LAUNCHER_GRACE_S: Final = 20.0
"""A launcher lets its node finish what it has."""
_ENTRANCE: Final = ("relay", "gateway")


async def stop_all(layout: ClusterLayout, say: Callable[[str], None]) -> int:
    """Withdraw the device's enrolment and end every process written down; return how many.

    The entrance first, so that nothing new comes in; then Ray, so that nothing is restarted; then
    the launchers with their nodes; then what those need. Safe to repeat.
    """
    enrolment.withdraw(layout)
    table = ProcessTable(layout.processes)
    entries = table.entries()
    ended = await _end(table, [e for e in entries if e.role in _ENTRANCE], say)
    if await stop_ray(layout):
        say("stopped ray")
    ended += await _end(table, [e for e in entries if e.role.startswith("launcher-")], say)
    ended += await _end(table, table.entries(), say)
    table.clear()
    for pattern in ("*.sock", "*.claim"):
        for path in layout.runtime.glob(pattern):
            path.unlink(missing_ok=True)
    return ended


async def _end(table: ProcessTable, entries: list[ProcessEntry], say: Callable[[str], None]) -> int:
    await asyncio.gather(*(asyncio.to_thread(end, e, grace_s=_grace(e)) for e in entries))
    for entry in entries:
        table.drop(entry.role)
        say(f"stopped {entry.role}")
    return len(entries)


def _grace(entry: ProcessEntry) -> float:
    return LAUNCHER_GRACE_S if entry.role.startswith("launcher-") else GRACE_S
