"""The Ray Serve replica that looks after one launcher. It never meets a request.

Its only argument is the folder of the launchers' sockets; each replica claims one. It asks for a
node when it starts, reports the node's health and load, and drains the node when Ray takes the
replica away. Ray places, restarts and scales it; Ray's proxies are off.
"""

import asyncio
import math
from pathlib import Path
from typing import Any

from ray import serve

from cloud_node.claims import Claim, claim_launcher
from cloud_node.launcher_client import LauncherClient
from cloud_node.node_process import NodeState
from lanai.errors import CloudUnavailable, LanaiError

__all__ = ["APPLICATION", "NodeSupervisor", "application", "scale_by_load"]

APPLICATION = "lanai-nodes"
CLAIM_S = 30.0
DRAIN_S = 35.0
POLL_S = 0.2
STREAMS_PER_NODE = 16
"""Live streams one node should have when Ray scales by load."""


class NodeSupervisor:
    """One node's supervisor. Ray calls every method here."""

    async def __init__(self, launchers: str) -> None:  # type: ignore[misc]  # Serve awaits it
        self._live = 0
        self._claim: Claim = await claim_launcher(Path(launchers), within_s=CLAIM_S)
        self._launcher = LauncherClient(socket=self._claim.socket)
        try:
            await self._start()
        except BaseException:
            self._claim.release()
            raise

    async def check_health(self) -> None:
        """Raises when the node is gone or frozen; Ray then replaces this replica."""
        status = await self._launcher.status()
        self._live = status.live
        if not status.serving:
            raise CloudUnavailable(f"the node is {status.state}")

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

    async def _start(self) -> None:
        status = await self._launcher.status()
        if status.state is NodeState.DRAINING:  # left so by a supervisor that died half-way
            await self._launcher.stop()
        status = await self._launcher.start()
        if not status.ok:
            raise CloudUnavailable(f"the node does not start ({status.error})")

    async def _leave(self) -> None:
        status = await self._launcher.drain()
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while status.serving and status.live and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_S)
            status = await self._launcher.status()
        await self._launcher.stop()


def scale_by_load(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaling policy: as many nodes as the live streams need, within its bounds."""
    reported = (context.aggregated_metrics or {}).get("live_streams", {})
    return max(1, math.ceil(sum(reported.values()) / STREAMS_PER_NODE)), {}


def application(launchers: Path, *, nodes: int, most_nodes: int) -> serve.Application:
    """The Serve application: ``nodes`` replicas, or up to ``most_nodes`` as the load asks."""
    options: dict[str, Any] = {"num_replicas": nodes}
    if most_nodes > nodes:
        options = {
            "autoscaling_config": {
                "min_replicas": nodes,
                "max_replicas": most_nodes,
                "upscale_delay_s": 2,
                "downscale_delay_s": 60,
                "policy": {"policy_function": scale_by_load},
            }
        }
    deployment = serve.deployment(
        name="node",
        # A supervisor computes nothing: logical CPUs would only keep replicas apart.
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=0.5,
        health_check_timeout_s=5,
        graceful_shutdown_timeout_s=DRAIN_S + 10,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config={"enable_access_log": False, "log_level": "ERROR"},
        **options,
    )(NodeSupervisor)
    return deployment.bind(str(launchers))
