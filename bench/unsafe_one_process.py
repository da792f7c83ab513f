"""A node without isolation, to compare with: `python -m bench.unsafe_one_process --config FILE`.

Front, key and text in one process, as a usual server has them; the engine is a child of it. The
same configuration, store, log, envelope and port as a node's. Nothing of the product imports this.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from cloud_node.events import Component
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.config import NodeConfig
from cloud_node.node.epoch import EpochPlan
from cloud_node.node.evidence import attesters_of
from cloud_node.node.front import Shared
from cloud_node.node.load import Load
from cloud_node.node.node import Node
from cloud_node.node.proof import LogReader
from cloud_node.node.release import measure_release
from cloud_node.service import Service, main
from cloud_node.store import open_store
from cloud_node.testing.inline import InlineKeyholding
from cloud_node.testing.inline_answer import inline_frames
from cloud_node.tree.keyholder import Keyholder
from cloud_node.tree.worker import Room
from inference.process import ProcessEngine
from inference.text import load_text_model

__all__ = ["one_process"]


async def run(config: NodeConfig, service: Service) -> None:
    """Serve until told to stop."""
    engine = await ProcessEngine.start(
        Path(config.model_folder), context_tokens=config.context_tokens, threads=config.threads
    )
    try:
        async with one_process(config, service, engine) as node:
            service.ready(node.epoch.address, node_id=node.epoch.keys.node_id.hex())
            await node.serve(service.stopping)
    finally:
        await engine.close()


@asynccontextmanager
async def one_process(
    config: NodeConfig, service: Service, engine: ProcessEngine
) -> AsyncIterator[Node]:
    """A node of this process, announced, until the block ends. ``engine`` stays the caller's."""
    release = measure_release(config)
    room = Room(
        text=load_text_model(Path(config.model_folder)),
        model=config.model_name,
        context_tokens=config.context_tokens,
        timeout_s=config.request_timeout_s,
    )
    keyholder = Keyholder(attesters_of(config.evidence, release))
    log = LogReader(config.log)
    shared = Shared(
        store=open_store(config.store_url),
        load=Load(max_live=config.max_live),
        keyholding=InlineKeyholding(keyholder, partial(inline_frames, room, engine)),
        log=service.log,
        request_timeout_s=config.request_timeout_s,
    )
    plan = EpochPlan(
        name=config.name,
        host=config.host,
        key_lifetime_s=config.key_lifetime_s,
        announce_s=config.announce_s,
        shared=shared,
        bundles=BundleMaker(release, log),
    )
    node = Node(plan, log, refresh_s=config.proof_refresh_s, drain_s=config.drain_s)
    try:
        await node.start()
        yield node
    finally:
        await node.close()


if __name__ == "__main__":
    main(Component.NODE, NodeConfig, run)
