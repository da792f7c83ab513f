"""``up`` and ``down``: one at a time for each cluster, and nothing left behind when they fail."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cloud_node.cluster import enrolment
from cloud_node.cluster.bringup import Bringup
from cloud_node.cluster.isolation import decide
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import require_ours, take_back
from cloud_node.cluster.plan import ClusterPlan
from cloud_node.cluster.processes import ProcessTable, is_alive, write_private
from cloud_node.cluster.progress import Progress
from cloud_node.cluster.stopping import stop_all
from cloud_node.cluster.supervision import ray_runs
from cloud_node.cluster.trust import publish_trust
from lanai.errors import CloudUnavailable, ConfigError, LanaiError
from lanai.folders import Folders, private_folder

__all__ = ["Started", "down", "up"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What ``up`` did. ``seconds`` by step; empty when the cluster ran already."""

    fresh: bool
    enrolled: bool
    seconds: dict[str, float]
    total_s: float


async def up(folders: Folders, layout: ClusterLayout, plan: ClusterPlan, *, say: Say) -> Started:
    """Start the cluster, or find it running. Raises ``LanaiError``; then nothing is left running.

    Cancelling it (Ctrl-C, SIGTERM) stops what was started, too.
    """
    with _alone(layout):
        if is_running(layout):
            return Started(
                fresh=False, enrolled=enrolment.enrolled_here(layout), seconds={}, total_s=0.0
            )
        # What a crash or a reboot left: processes, sockets, an enrolment in a cluster that is gone.
        await stop_all(layout, say)
        await asyncio.to_thread(_choose_users, layout, plan, say)
        progress = Progress(say)
        try:
            with _cancelled_by_sigterm():
                await Bringup(layout, plan, progress).run()
            with progress.step("enrolment"):
                await asyncio.to_thread(publish_trust, layout)
                enrolled = await enrolment.enrol(layout, ClusterLayout.all(folders))
        except BaseException as error:
            say("stopping what was started")
            await stop_all(layout, lambda line: None)
            if isinstance(error, BaseExceptionGroup):
                raise _first(error) from error
            raise
        return Started(
            fresh=True, enrolled=enrolled, seconds=progress.seconds, total_s=progress.total
        )


def _choose_users(layout: ClusterLayout, plan: ClusterPlan, say: Say) -> None:
    """Decide whom the processes run as; root's files are root's again until they are given away."""
    require_ours(layout)
    isolation = decide(layout, plan)
    take_back(layout)
    write_private(layout.isolation_file, isolation.model_dump_json(indent=1))
    if not isolation.separate:
        say(f"isolation: same-user ({isolation.reason})")
        if isolation.hint:
            say(f"hint: {isolation.hint}")


async def down(layout: ClusterLayout, *, say: Say) -> int:
    """Stop everything that was started; return how many processes that were. Safe to repeat."""
    with _alone(layout):
        return await stop_all(layout, say)


def is_running(layout: ClusterLayout) -> bool:
    """Whether an `up` finished and all it started still runs."""
    entries = ProcessTable(layout.processes).entries()
    whole = any(entry.role == "relay" and entry.address for entry in entries)
    return whole and all(is_alive(entry) for entry in entries) and ray_runs(layout) is not False


@contextmanager
def _alone(layout: ClusterLayout) -> Iterator[None]:
    """Hold the cluster's lock. Raises ``CloudUnavailable`` while another command has it."""
    require_ours(layout)
    try:
        path = private_folder(layout.folder) / "lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{layout.folder} cannot be used ({error.strerror})",
            hint="run this as the user who owns it, or set LANAI_HOME",
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CloudUnavailable(
                f"another command is starting or stopping the cluster {layout.name}",
                hint="wait for it to end",
            ) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the running task as Ctrl-C does, so that what was started is stopped."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise LanaiError("up runs as a task")
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of several that a person should read: the first of ours."""
    ours, others = group.split(LanaiError)
    found: BaseException = ours or others or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
