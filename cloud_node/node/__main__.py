"""A node as a process: `python -m cloud_node.node --config FILE.json [--control FD]`."""

import asyncio
from contextlib import suppress
from pathlib import Path

from cloud_node.events import Component, Event
from cloud_node.node.answer import Answerer
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.config import NodeConfig
from cloud_node.node.control import Control
from cloud_node.node.engine_host import EngineHost, StartEngine
from cloud_node.node.epoch import EpochPlan
from cloud_node.node.evidence import attesters_of
from cloud_node.node.front import Shared
from cloud_node.node.load import Load
from cloud_node.node.node import Node
from cloud_node.node.proof import LogReader
from cloud_node.node.release import measure_release
from cloud_node.tree.replay import ReplaySet
from cloud_node.service import Service, main
from cloud_node.store import open_store
from inference.engine import Engine
from inference.process import ProcessEngine
from inference.text import load_text_model


async def run(config: NodeConfig, service: Service) -> None:
    """Measure, start the engine, serve, drain."""
    load = Load(max_live=config.max_live)
    engine = EngineHost(_engine_of(config), load, service.log)
    release, _ = await asyncio.gather(asyncio.to_thread(measure_release, config), engine.start())
    attesters = attesters_of(config.evidence, release)
    if any(attester.kind.startswith("unsafe") for attester in attesters):
        service.log.emit(Event.UNSAFE_EVIDENCE)
    text = await asyncio.to_thread(load_text_model, Path(config.model_folder))
    answerer = Answerer(text, engine, model=config.model_name, context_tokens=config.context_tokens)
    shared = Shared(
        store=open_store(config.store_url),
        replay=ReplaySet(),
        load=load,
        answerer=answerer,
        log=service.log,
        request_timeout_s=config.request_timeout_s,
    )
    log = LogReader(config.log)
    plan = EpochPlan(
        name=config.name,
        host=config.host,
        key_lifetime_s=config.key_lifetime_s,
        announce_s=config.announce_s,
        shared=shared,
        bundles=BundleMaker(release, attesters, log),
    )
    node = Node(plan, engine, log, refresh_s=config.proof_refresh_s, drain_s=config.drain_s)
    await _serve(node, load, service)


async def _serve(node: Node, load: Load, service: Service) -> None:
    control = None
    try:
        await node.start()
        service.ready(node.epoch.address, node_id=node.epoch.keys.node_id.hex())
        if service.control is not None:
            control = asyncio.create_task(Control(service.control, load).run(service.stopping))
        await node.serve(service.stopping)
        await node.drain()
    finally:
        await node.close()
        if control is not None:
            control.cancel()
            with suppress(asyncio.CancelledError):
                await control


def _engine_of(config: NodeConfig) -> StartEngine:
    async def start() -> Engine:
        return await ProcessEngine.start(
            Path(config.model_folder),
            context_tokens=config.context_tokens,
            threads=config.threads,
        )

    return start


if __name__ == "__main__":
    main(Component.NODE, NodeConfig, run)
