"""The Ray Serve replica that looks after one launcher. It never meets a request.

Its only argument is the path of the launcher's socket. It asks for a node when it starts and when a
health check finds the node dead or frozen, reports health and load, and drains the node when Ray
takes it away. Ray places, checks and restarts it; Ray's proxies are off.

Each launcher has an application of its own, because Serve replaces every replica of an application
that is deployed again: scaling must not touch the nodes that stay.
"""

import asyncio
from pathlib import Path

from ray import serve

from cloud_node.claims import Claim, claim_launcher
from cloud_node.launcher_client import LauncherClient, LauncherStatus
from cloud_node.tree.state import NodeState
from lanai.errors import CloudUnavailable, LanaiError

__all__ = ["PREFIX", "NodeSupervisor", "application", "application_name"]

PREFIX = "lanai-"
CLAIM_S = 60.0
HEAL_S = 90.0
DRAIN_S = 35.0
CHECK_S = 5.0
ANSWER_S = 4.0
"""What a launcher has for a quick answer: less than Ray allows a check, and a busy host's worth."""
POLL_S = 0.2
WELL = (NodeState.RUNNING, NodeState.DRAINING)


class NodeSupervisor:
    """One node's supervisor. Ray calls every method here."""

    async def __init__(self, socket: str) -> None:  # type: ignore[misc]  # Serve awaits it
        self._live = 0
        self._healing: asyncio.Task[LauncherStatus] | None = None
        self._launcher = LauncherClient(socket=Path(socket), quick_s=ANSWER_S, slow_s=HEAL_S)
        self._claim: Claim = await claim_launcher(Path(socket), within_s=CLAIM_S)
        try:
            await self._start()
        except BaseException:
            self._claim.release()
            raise

    async def check_health(self) -> None:
        """Have a dead or frozen node replaced; raise when that does not work.

        Ray then replaces this replica, perhaps elsewhere. Ray allows a check less time than a
        model takes to load, so the replacement goes on between checks.
        """
        if self._healing is not None:
            self._finish_healing(self._healing)
            return
        status = await self._launcher.status()
        self._live = status.live
        if status.state not in WELL:
            self._healing = asyncio.create_task(self._launcher.start())

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Load as of the last health check: streams that Serve's own router never sees."""
        return {"live_streams": float(self._live)}

    async def __del__(self) -> None:
        """Drain, wait for live streams, stop. Ray awaits this within its graceful time."""
        claim = getattr(self, "_claim", None)
        if claim is None:  # the constructor did not get that far
            return
        try:
            await self._leave()
        except LanaiError:  # the launcher is gone, and its node with it
            pass
        finally:
            claim.release()

    def _finish_healing(self, healing: "asyncio.Task[LauncherStatus]") -> None:
        if not healing.done():
            return
        self._healing = None
        _require_ok(healing.result())

    async def _start(self) -> None:
        status = await self._launcher.status()
        if status.state is NodeState.DRAINING:  # left so by a supervisor that died half-way
            await self._launcher.stop()
        _require_ok(await self._launcher.start())

    async def _leave(self) -> None:
        status = await self._launcher.drain()
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while status.serving and status.live and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_S)
            status = await self._launcher.status()
        await self._launcher.stop()


def _require_ok(status: LauncherStatus) -> None:
    if not status.ok:
        raise CloudUnavailable(f"the node does not start ({status.error})")


def application_name(socket: Path) -> str:
    """The Serve application that looks after this launcher."""
    return PREFIX + socket.stem


def application(socket: Path) -> serve.Application:
    """One supervisor for the launcher at ``socket``."""
    deployment = serve.deployment(
        name="supervisor",
        num_replicas=1,
        # A supervisor computes nothing: logical CPUs would only keep replicas apart.
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=0.5,
        health_check_timeout_s=CHECK_S,
        graceful_shutdown_timeout_s=DRAIN_S + 10,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config={"enable_access_log": False, "log_level": "ERROR"},
    )(NodeSupervisor)
    return deployment.bind(str(socket))
