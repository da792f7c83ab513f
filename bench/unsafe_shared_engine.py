"""A node as a tree, and beside it nodes without isolation that share its engine.

`python -m bench.unsafe_shared_engine --config FILE`: the launcher's process of the tree is the one
process of the others, and all ask one engine, so that nothing of an engine is in what they differ
by. Two without isolation, to be measured against each other. Nothing of the product imports this.
"""

import asyncio
from contextlib import AsyncExitStack

from bench.unsafe_one_process import one_process
from cloud_node.events import Component
from cloud_node.node.config import NodeConfig
from cloud_node.service import Service, main
from cloud_node.tree.engine_process import EngineProcess
from cloud_node.tree.state import PieceName
from cloud_node.tree.tree import NodeTree
from inference.process import ProcessEngine

START_S = 120.0


class _Tree(NodeTree):
    @property
    def engine(self) -> ProcessEngine:
        """The launcher's own line to it, which elsewhere only starts and retires it."""
        piece = self._pieces[PieceName.ENGINE]
        if not isinstance(piece, EngineProcess):
            raise TypeError("the tree has no engine")
        return piece._engine  # past front, keyholder and workers


async def run(config: NodeConfig, service: Service) -> None:
    """Serve all three until told to stop."""
    tree = _Tree(service.log)
    await tree.start(config, log=None, within_s=START_S)
    try:
        async with AsyncExitStack() as closing:
            said, nodes = {}, []
            for name in ("one", "twin"):
                named = config.model_copy(update={"name": f"{config.name}-{name}"})
                node = await closing.enter_async_context(one_process(named, service, tree.engine))
                nodes.append(node)
                said[f"{name}_address"] = node.epoch.address
                said[f"{name}_node_id"] = node.epoch.keys.node_id.hex()
            service.ready(tree.address or "", node_id=tree.node_id or "", **said)
            await asyncio.gather(*(node.serve(service.stopping) for node in nodes))
    finally:
        await tree.stop(within_s=config.drain_s + 5.0)


if __name__ == "__main__":
    main(Component.LAUNCHER, NodeConfig, run)
