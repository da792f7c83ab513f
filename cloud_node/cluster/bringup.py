"""Starts every part of a development cluster on one host, in the order they need each other."""

import asyncio
from typing import Final

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import prepare_node
from cloud_node.cluster.plan import ClusterPlan
from cloud_node.cluster.ports import free_port
from cloud_node.cluster.processes import ProcessTable, write_private
from cloud_node.cluster.progress import Progress
from cloud_node.cluster.recipes import Recipes
from cloud_node.cluster.starting import Starter, last_words
from cloud_node.cluster.supervision import start_ray, supervise
from cloud_node.cluster.views import publish, wait_for_node
from cloud_node.launcher_client import LauncherClient
from cloud_node.node.release import measure_release
from cloud_node.service import PinnedEndpoint, ServiceConfig
from lanai.errors import CloudUnavailable
from trust.root import TrustRoot

__all__ = ["Bringup"]

PUBLIC: Final = 0o644
NODE_READY_S: Final = 120.0
NODE: Final = "node-0"
LAUNCHER: Final = "launcher-0"
MODULES: Final = {
    "store": "cloud_node.store",
    "witness": "cloud_node.witness",
    "issuer": "cloud_node.issuer",
    "log": "cloud_node.log_service",
    "gateway": "cloud_node.gateway",
    "relay": "cloud_node.relay",
    LAUNCHER: "cloud_node.launcher",
}


class Bringup:
    """One `up`. Whoever calls ``run`` stops what was started when it raises."""

    def __init__(self, layout: ClusterLayout, plan: ClusterPlan, progress: Progress) -> None:
        self._layout = layout
        self._plan = plan
        self._progress = progress
        self._starter = Starter(layout, ProcessTable(layout.processes))

    async def run(self) -> None:
        """Bring the cluster up.

        1. keys
        2. what needs nobody: store, issuer; witness and then the log that asks it; measure; and,
           until the node needs it, a software TPM with its CA, where one is installed
        3. the release and the keys of issuer and gateway become leaves, cosigned
        4. launcher and node, with Ray to supervise; gateway and relay beside them
        5. a device's view, through the relay: a verified node
        """
        # 1
        with self._progress.step("keys"):
            recipes = await asyncio.to_thread(Recipes.prepare, self._layout, self._plan)
        async with asyncio.TaskGroup() as beside:
            tpm = beside.create_task(self._start_tpm(recipes))
            await self._run(recipes, tpm)

    async def _run(self, recipes: Recipes, tpm: "asyncio.Task[None]") -> None:
        # 2
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start("store", recipes.store()))
            issuing = group.create_task(self._start("issuer", recipes.issuer()))
            logging = group.create_task(self._start_log(recipes))
            measuring = group.create_task(self._measure(recipes))
        log = recipes.endpoint("log", logging.result())
        # 3
        with self._progress.step("release"):
            leaves = [measuring.result(), *(record.canonical() for record in recipes.keys)]
            await publish(log, leaves, recipes.operator)
        # 4
        port = free_port()
        root = recipes.trust_root(relay=f"127.0.0.1:{port}", issuer=issuing.result())
        write_private(self._layout.trust_root, root.to_json())
        self._layout.trust_root.chmod(PUBLIC)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_node(recipes, log, tpm))
            group.create_task(self._start_entrance(recipes, log, port))
        # 5
        with self._progress.step("verified node"):
            await wait_for_node(_relay(root), root, timeout_s=NODE_READY_S)

    async def _start(self, role: str, config: ServiceConfig) -> str:
        with self._progress.step(role):
            entry = await self._starter.start(role, MODULES[role], config)
        return entry.address

    async def _start_log(self, recipes: Recipes) -> str:
        witness = await self._start("witness", recipes.witness())
        return await self._start("log", recipes.log(recipes.endpoint("witness", witness)))

    async def _start_tpm(self, recipes: Recipes) -> None:
        if recipes.tpm is not None:
            with self._progress.step("unsafe software tpm"):
                await recipes.tpm.start(self._starter)

    async def _measure(self, recipes: Recipes) -> bytes:
        # Where the log listens is not known yet, and no part of what is measured.
        config = recipes.node(NODE, recipes.endpoint("log", "127.0.0.1:0"))
        with self._progress.step("measurement"):
            release = await asyncio.to_thread(measure_release, config)
        return release.canonical()

    async def _start_node(
        self, recipes: Recipes, log: PinnedEndpoint, tpm: "asyncio.Task[None]"
    ) -> None:
        recipes.node(NODE, log).write(self._layout.config(NODE))
        prepare_node(self._layout, NODE, recipes.isolation)
        await self._start(LAUNCHER, recipes.launcher(LAUNCHER, NODE))
        await tpm
        async with asyncio.TaskGroup() as group:
            if self._plan.supervised:
                group.create_task(self._supervise())
            # Asked here too, so that the weights load while Ray starts; the verb is idempotent.
            group.create_task(self._ask_start())

    async def _ask_start(self) -> None:
        launcher = LauncherClient(socket=self._layout.socket(LAUNCHER), slow_s=NODE_READY_S)
        with self._progress.step(NODE):
            status = await launcher.start()
        if not status.ok:
            log = self._layout.log(NODE)
            raise CloudUnavailable(
                f"the node did not start ({status.error})", hint=last_words(log) or f"see {log}"
            )

    async def _supervise(self) -> None:
        with self._progress.step("ray"):
            await start_ray(self._layout)
        with self._progress.step("supervisor"):
            await supervise(self._layout, [self._layout.socket(LAUNCHER)])

    async def _start_entrance(self, recipes: Recipes, log: PinnedEndpoint, port: int) -> None:
        gateway = await self._start("gateway", recipes.gateway(log))
        await self._start("relay", recipes.relay(recipes.endpoint("gateway", gateway), port))


def _relay(root: TrustRoot) -> PinnedEndpoint:
    return PinnedEndpoint(address=root.relay.address, certificate=root.relay.certificate)
