"""A node in this process: real keys, evidence, port and text model; the engine is the caller's."""

import time
from dataclasses import dataclass

from cloud_node.events import EventLog
from cloud_node.node.answer import Answerer
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.engine_host import EngineHost, StartEngine
from cloud_node.node.epoch import Epoch, EpochPlan
from cloud_node.node.front import Shared
from cloud_node.node.load import Load
from cloud_node.tree.replay import ReplaySet
from cloud_node.store import Store
from cloud_node.testing.world_log import WorldLog
from inference.text import TextModel
from trust.attestation import UnsafeSoftwareAttester
from trust.testing import UnsafeTrustWorld, unsafe_release

__all__ = ["OpenNode", "open_node"]

KEY_LIFETIME_S = 3600
MAX_LIVE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenNode:
    """One epoch of keys in service, and the engine behind it."""

    epoch: Epoch
    engine: EngineHost

    async def close(self) -> None:
        await self.epoch.close()
        await self.engine.close()


async def open_node(
    world: UnsafeTrustWorld,
    log: WorldLog,
    store: Store,
    events: EventLog,
    *,
    name: str,
    text: TextModel,
    engine: StartEngine,
    context_tokens: int,
) -> OpenNode:
    """Start one on a free port of 127.0.0.1; its release is logged, and it announces itself."""
    release = unsafe_release(context_tokens=context_tokens)
    log.append(release.canonical())
    load = Load(max_live=MAX_LIVE)
    host = EngineHost(engine, load, events)
    await host.start()
    shared = Shared(
        store=store,
        replay=ReplaySet(),
        load=load,
        answerer=Answerer(text, host, model=release.model, context_tokens=context_tokens),
        log=events,
        request_timeout_s=60.0,
        clock=time.time,
    )
    attester = UnsafeSoftwareAttester(world.operator_key, release)
    plan = EpochPlan(
        name=name,
        host="127.0.0.1",
        key_lifetime_s=KEY_LIFETIME_S,
        announce_s=60.0,
        shared=shared,
        bundles=BundleMaker(release, [attester], log),
    )
    return OpenNode(epoch=await Epoch.open(plan), engine=host)
