"""Stops a cluster, whole or half-started, from the outside in."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cloud_node.cluster import enrolment
from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessEntry, ProcessTable, end
from cloud_node.cluster.supervision import stop_ray
from cloud_node.cluster.users import uids_running
from lanai.errors import CloudUnavailable

__all__ = ["stop_all"]

GRACE_S: Final = 5.0
LAUNCHER_GRACE_S: Final = 20.0
"""A launcher lets its node finish what it has."""
ROUNDS: Final = 100
POLL_S: Final = 0.05
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
    await _end_users(Isolation.of(layout))
    table.clear()
    for pattern in ("*/*.sock", "*/*.claim"):
        for path in layout.runtime.glob(pattern):
            path.unlink(missing_ok=True)
    return ended


async def _end(table: ProcessTable, entries: list[ProcessEntry], say: Callable[[str], None]) -> int:
    await asyncio.gather(*(asyncio.to_thread(end, e, grace_s=_grace(e)) for e in entries))
    for entry in entries:
        table.drop(entry.role)
        say(f"stopped {entry.role}")
    return len(entries)


async def _end_users(isolation: Isolation) -> None:
    """Whatever else runs as a user of this cluster: what Ray was told to run may have left Ray."""
    ours = {user.uid for user in isolation.users.values()}
    for _ in range(ROUNDS):
        left = {pid for uid, pids in uids_running().items() if uid in ours for pid in pids}
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(POLL_S)
    raise CloudUnavailable(
        "processes of this cluster's users cannot be ended", hint="`ps -eo uid,pid,args` shows them"
    )


def _grace(entry: ProcessEntry) -> float:
    return LAUNCHER_GRACE_S if entry.role.startswith("launcher-") else GRACE_S
