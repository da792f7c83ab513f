"""A node in this process: real keys, evidence, port and text model; the engine is the caller's."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from cloud_node.events import EventLog
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.epoch import Epoch, EpochPlan
from cloud_node.node.front import Shared
from cloud_node.node.load import Load
from cloud_node.store import Store
from cloud_node.testing.inline import InlineKeyholding
from cloud_node.testing.inline_answer import inline_frames
from cloud_node.testing.thread_tree import UnsafeThreadTree
from cloud_node.testing.world_log import WorldLog
from cloud_node.tree.keyholder import Keyholder
from cloud_node.tree.worker import Room
from inference.engine import Engine
from inference.text import TextModel
from trust.attestation import UnsafeSoftwareAttester
from trust.testing import UnsafeTrustWorld, unsafe_release

__all__ = ["OpenNode", "StartEngine", "open_node"]

KEY_LIFETIME_S = 3600
MAX_LIVE = 256
TIMEOUT_S = 60.0

StartEngine = Callable[[], Awaitable[Engine]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenNode:
    """One epoch of keys in service, what is behind it, and the engine."""

    epoch: Epoch
    tree: UnsafeThreadTree | None
    engine: Engine

    async def close(self) -> None:
        await self.epoch.close()
        await self.engine.close()
        if self.tree is not None:
            await self.tree.close()


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
    threads: bool = True,
) -> OpenNode:
    """Start one on a free port of 127.0.0.1; its release is logged, and it announces itself.

    Without ``threads`` keyholder and worker are coroutines beside the front: nothing waits for
    another thread's turn, and no constraint, stop at a deadline or shape is looked after.
    """
    release = unsafe_release(context_tokens=context_tokens)
    log.append(release.canonical())
    started = await engine()
    room = Room(text=text, model=release.model, context_tokens=context_tokens, timeout_s=TIMEOUT_S)
    attester = UnsafeSoftwareAttester(world.operator_key, release)
    tree = UnsafeThreadTree([attester], room, started, events, clock=time.time) if threads else None
    inline = InlineKeyholding(Keyholder([attester]), partial(inline_frames, room, started))
    shared = Shared(
        store=store,
        load=Load(max_live=MAX_LIVE),
        keyholding=tree.keyholding if tree else inline,
        log=events,
        request_timeout_s=TIMEOUT_S,
        clock=time.time,
    )
    plan = EpochPlan(
        name=name,
        host="127.0.0.1",
        key_lifetime_s=KEY_LIFETIME_S,
        announce_s=60.0,
        shared=shared,
        bundles=BundleMaker(release, log),
    )
    return OpenNode(epoch=await Epoch.open(plan), tree=tree, engine=started)
