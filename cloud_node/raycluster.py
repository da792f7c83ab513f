"""Ray on one host, as small and as closed as it goes; started and ended by us, by process id.

Loopback only, free ports only, a token of the cluster's own. Off: dashboard, autoscaler monitor,
client server, usage statistics, task events, export events, timeline, log monitor, spilling.
Nothing here imports Ray: every step that needs it is a child process.

    handle = await ray_up(RayConfig(folder=…, runtime=…))      about 3 s
    await supervise(handle, [socket, …])                       about 5 s
    await ray_down(handle)
"""

import asyncio
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import Field

from cloud_node.keyfiles import write_secret
from cloud_node.process_user import ProcessUser, process_environment, spawn_options
from cloud_node.ray_processes import RayProcesses
from cloud_node.service import ServiceConfig
from lanai.errors import CloudUnavailable
from lanai.folders import private_folder

__all__ = ["RayConfig", "RayHandle", "ray_alive", "ray_down", "ray_pids", "ray_up", "supervise"]

LONGEST_TEMP: Final = 40
"""Ray puts sockets 65 characters below its folder, and AF_UNIX ends at 107."""
SMALLEST_OBJECT_STORE: Final = 75 * 1024 * 1024
START_S: Final = 60.0
DEPLOY_S: Final = 180.0
LOOPBACK: Final = "127.0.0.1"
# The environment variable for spilling is ignored; the system configuration is not.
SYSTEM_CONFIG: Final = (
    '{"automatic_object_spilling_enabled":false,"local_fs_capacity_threshold":0.0,'
    '"health_check_initial_delay_ms":500,"health_check_period_ms":1000,'
    '"health_check_timeout_ms":1000,"health_check_failure_threshold":3}'
)
ENVIRONMENT: Final = {
    "RAY_AUTH_MODE": "token",
    # Ray listens on loopback when it believes it cannot be one of several hosts.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_timeline": "0",
    "RAY_ray_events_report_interval_ms": "0",
    "RAY_enable_export_api_write": "0",
    "RAY_event_log_reporter_enabled": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_core_dump_exclude_plasma_store": "1",
    "RAY_raylet_core_dump_exclude_plasma_store": "1",
    "RAY_record_task_actor_creation_sites": "0",
    "RAY_record_ref_creation_sites": "0",
    # No worker waits for work nobody sends: supervisors are actors.
    "RAY_prestart_worker_first_driver": "0",
    # Ray's own value is 15: behind busy engines a supervisor would not come to look after them.
    "RAY_worker_niceness": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


class RayConfig(ServiceConfig):
    """Where a cluster's Ray keeps its things."""

    folder: str
    """Token and logs of ours; made 0700."""
    runtime: str
    """Ray's own folder goes below it when the path is short enough for sockets, else to /tmp."""
    log: str | None = None
    """What Ray's processes say; unset: ``ray.log`` in ``folder``. Not for the user to replace."""
    cpus: int = Field(1, ge=1, le=1024)
    """Logical CPUs; supervisors use none."""
    user: ProcessUser | None = None
    """Whom all of Ray runs as, supervisors and what they deploy included; None: as we do."""


class RayHandle(ServiceConfig):
    """What is needed to use and to end this Ray. Holds no secret."""

    address: str
    temp: str
    token_file: str
    session: int
    """Process session all of its processes belong to."""
    log: str
    user: ProcessUser | None = None


async def ray_up(config: RayConfig) -> RayHandle:
    """Start Ray's head on this host. Raises ``CloudUnavailable`` and leaves nothing behind."""
    folder = private_folder(Path(config.folder))
    temp = _temp_folder(Path(config.runtime), config.user)
    token_file = folder / "token"
    write_secret(token_file, secrets.token_hex(32).encode("ascii"))
    handle = RayHandle(
        address="",
        temp=str(temp),
        token_file=str(token_file),
        session=0,
        log=config.log or str(folder / "ray.log"),
        user=config.user,
    )
    process = await _spawn(_start_command(temp, config.cpus), handle)
    handle = handle.model_copy(update={"session": process.pid})
    code = await _finish(process, START_S)
    address = _read_address(temp)
    if code != 0 or address is None:
        await ray_down(handle)
        raise CloudUnavailable("Ray did not start", hint=f"see {handle.log}")
    _processes(handle).end_unneeded()
    return handle.model_copy(update={"address": address})


async def supervise(handle: RayHandle, launchers: Sequence[Path]) -> None:
    """Have exactly these launchers (their sockets) supervised; returns when all have a node.

    Supervisors that stay are not touched. One that goes drains and stops its node first. Raises
    ``CloudUnavailable``.
    """
    sockets = [str(socket) for socket in launchers]
    command = [sys.executable, "-P", "-m", "cloud_node.deploying", handle.address, *sockets]
    process = await _spawn(command, handle)
    if await _finish(process, DEPLOY_S) != 0:
        raise CloudUnavailable(
            "Ray does not supervise the nodes", hint=f"see {handle.log} and the nodes' logs"
        )


async def ray_down(handle: RayHandle) -> None:
    """End every process of this Ray and remove its folder. Idempotent; nodes are not touched."""
    await _processes(handle).end()
    await asyncio.to_thread(shutil.rmtree, Path(handle.temp).parent, ignore_errors=True)


def ray_alive(handle: RayHandle) -> bool:
    """Whether Ray's two daemons of this handle run."""
    return _processes(handle).daemons_alive()


def ray_pids(handle: RayHandle) -> Sequence[int]:
    """Every process of this Ray."""
    return _processes(handle).pids()


async def _spawn(command: list[str], handle: RayHandle) -> asyncio.subprocess.Process:
    descriptor = os.open(handle.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=_environment(handle),
            cwd=Path(handle.token_file).parent,
            start_new_session=True,
            **spawn_options(handle.user),
        )
    finally:
        os.close(descriptor)


async def _finish(process: asyncio.subprocess.Process, within_s: float) -> int:
    try:
        async with asyncio.timeout(within_s):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _start_command(temp: Path, cpus: int) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--no-monitor"),
        *("--disable-usage-stats", "--include-dashboard=false", "--include-log-monitor=false"),
        *(f"--node-ip-address={LOOPBACK}", f"--temp-dir={temp}", f"--num-cpus={cpus}"),
        *("--port=0", "--min-worker-port=0", "--max-worker-port=0"),
        *("--dashboard-agent-listen-port=0", f"--ray-client-server-port={_free_port()}"),
        *(f"--object-store-memory={SMALLEST_OBJECT_STORE}", "--num-gpus=0"),
        f"--system-config={SYSTEM_CONFIG}",
    ]


def _environment(handle: RayHandle) -> dict[str, str]:
    """Nothing that would point Ray, or its workers, elsewhere."""
    return (
        process_environment(handle.user) | ENVIRONMENT | {"RAY_AUTH_TOKEN_PATH": handle.token_file}
    )


def _temp_folder(runtime: Path, user: ProcessUser | None) -> Path:
    """A folder for Ray, inside one that is its user's alone: Ray opens its own to everyone."""
    if len(str(runtime / "ray" / "t")) > LONGEST_TEMP:
        outer = Path(tempfile.mkdtemp(prefix="lanai-ray-"))
    else:
        outer = private_folder(private_folder(runtime) / "ray")
    if user is not None:
        os.chown(outer, user.uid, user.uid)
    return outer / "t"


def _read_address(temp: Path) -> str | None:
    try:
        return (temp / "ray_current_cluster").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _free_port() -> int:
    """For the client server, which takes no zero and is ended right after the start."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _processes(handle: RayHandle) -> RayProcesses:
    return RayProcesses(session=handle.session, temp=handle.temp)
