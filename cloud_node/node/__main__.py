"""A node without a launcher's socket: `python -m cloud_node.node --config FILE.json`.

The same tree of processes, which ends with this one. SIGTERM drains it.
"""

from cloud_node.events import Component
from cloud_node.node.config import NodeConfig
from cloud_node.service import Service, main
from cloud_node.tree.tree import NodeTree

START_S = 120.0


async def run(config: NodeConfig, service: Service) -> None:
    """Start the tree, say where it listens, and end it when told to stop."""
    tree = NodeTree(service.log)
    await tree.start(config, log=None, within_s=START_S)
    try:
        service.ready(tree.address or "", node_id=tree.node_id or "")
        await service.stopping.wait()
    finally:
        await tree.stop(within_s=config.drain_s + 5.0)


if __name__ == "__main__":
    main(Component.LAUNCHER, NodeConfig, run)
