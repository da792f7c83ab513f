"""Ray, started and ended as part of a cluster. It looks after launchers; it sees no request."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cloud_node import raycluster
from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.raycluster import RayConfig, RayHandle, ray_alive, ray_down, ray_up
from cloud_node.service import load_config
from lanai.errors import CloudUnavailable

__all__ = ["ray_pids", "ray_runs", "start_ray", "stop_ray", "supervise"]


async def start_ray(layout: ClusterLayout) -> None:
    """Start Ray and write down how to end it. Cancelling waits until it can be ended."""
    config = RayConfig(
        folder=str(layout.own("ray")),
        runtime=str(layout.runtime),
        log=str(layout.log("ray").with_suffix(".log")),
        user=Isolation.of(layout).user("ray"),
    )
    starting = asyncio.ensure_future(ray_up(config))
    try:
        handle = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await ray_down(await starting)
        raise
    handle.write(layout.ray)


async def supervise(layout: ClusterLayout, launchers: Sequence[Path]) -> None:
    """Have Ray look after exactly these launchers (sockets). Raises ``CloudUnavailable``.

    Returns when each has a node. A launcher that is not named any more has its node drained and
    stopped.
    """
    handle = _handle(layout)
    if handle is None:
        raise CloudUnavailable(
            f"no Ray supervises the cluster {layout.name}", hint="`lanai cloud up` starts one"
        )
    await raycluster.supervise(handle, launchers)


async def stop_ray(layout: ClusterLayout) -> bool:
    """End Ray if there is one; say whether there was. Nodes are not touched."""
    handle = _handle(layout)
    if handle is None:
        return False
    await ray_down(handle)
    layout.ray.unlink(missing_ok=True)
    return True


def ray_runs(layout: ClusterLayout) -> bool | None:
    """Whether Ray's daemons run; None when this cluster has no Ray."""
    handle = _handle(layout)
    return None if handle is None else ray_alive(handle)


def ray_pids(layout: ClusterLayout) -> Sequence[int]:
    """Every process of this cluster's Ray, supervisors among them."""
    handle = _handle(layout)
    return () if handle is None else raycluster.ray_pids(handle)


def _handle(layout: ClusterLayout) -> RayHandle | None:
    return load_config(RayHandle, layout.ray) if layout.ray.exists() else None
