"""The front as a piece of the tree: it serves, and reports to the launcher by its wire."""

import asyncio
import signal
from contextlib import suppress
from typing import Any, Final

from cloud_node.events import Event, EventLog
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.config import NodeConfig
from cloud_node.node.epoch import EpochPlan
from cloud_node.node.front import Shared
from cloud_node.node.keyholding import Keyholding
from cloud_node.node.load import Load
from cloud_node.node.node import Node
from cloud_node.node.proof import LogReader
from cloud_node.store import open_store
from cloud_node.tree.confinements import front_confinement
from cloud_node.tree.doors import AsyncDoor, Door, Message, close_all
from cloud_node.tree.piece import Piece
from trust.attestation.release import Release

__all__ = ["run"]

BEAT_S: Final = 0.5


def run(piece: Piece) -> None:
    """Until the launcher says stop, or is gone."""
    config = NodeConfig.model_validate_json(piece.order["config"])
    # Before gRPC has threads, which Landlock would not bind.
    lacking = piece.confine(front_confinement(config), profile=config.profile)
    asyncio.run(_Serving(piece, config, lacking).run())


class _Serving:
    """One front. Messages of the launcher: ``connect`` (the keyholder's door), ``missing``,
    ``drain``, ``stop``; to it: ``ready`` once, then ``beat`` twice a second."""

    def __init__(self, piece: Piece, config: NodeConfig, lacking: list[str]) -> None:
        self._log: EventLog = piece.log
        self._wire_door = piece.wire
        self._config = config
        self._lacking = lacking
        self._release = Release.parse(piece.order["release"])
        self._load = Load(max_live=self._config.max_live)
        self._keyholding = Keyholding()
        self._connected = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._loose_error)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        wire = AsyncDoor(self._wire_door)
        listening = asyncio.create_task(self._listen(wire))
        try:
            await self._serve(wire)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _serve(self, wire: AsyncDoor) -> None:
        node = self._node()
        beating = None
        try:
            await self._connected.wait()
            self._log.serves()
            await node.start()
            wire.send({**self._word(node, "ready"), "lacking": self._lacking})
            beating = asyncio.create_task(self._beat(wire, node))
            await node.serve(self._stopping)
            await node.drain()
        finally:
            if beating is not None:
                beating.cancel()
            await node.close()

    def _node(self) -> Node:
        config = self._config
        log = LogReader(config.log)
        shared = Shared(
            store=open_store(config.store_url),
            load=self._load,
            keyholding=self._keyholding,
            log=self._log,
            request_timeout_s=config.request_timeout_s,
        )
        plan = EpochPlan(
            name=config.name,
            host=config.host,
            key_lifetime_s=config.key_lifetime_s,
            announce_s=config.announce_s,
            shared=shared,
            bundles=BundleMaker(self._release, log),
        )
        return Node(plan, log, refresh_s=config.proof_refresh_s, drain_s=config.drain_s)

    async def _listen(self, wire: AsyncDoor) -> None:
        with suppress(EOFError):
            while True:
                self._hear(*await wire.receive())
        self._stopping.set()

    def _hear(self, message: Message, descriptors: list[int]) -> None:
        match message.get("kind"), descriptors:
            case "connect", [descriptor]:
                self._keyholding.connect(Door.of(descriptor))
                self._connected.set()
            case "missing", []:
                own = {piece for piece in self._load.missing if piece == "keys"}
                self._load.missing = own | set(message["pieces"])
            case "drain", []:
                self._load.drain()
            case "stop", []:
                self._stopping.set()
            case _:
                close_all(descriptors)

    async def _beat(self, wire: AsyncDoor, node: Node) -> None:
        with suppress(OSError):
            while True:
                wire.send(self._word(node, "beat"))
                await asyncio.sleep(BEAT_S)

    def _word(self, node: Node, kind: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "address": node.epoch.address,
            "node_id": node.epoch.keys.node_id.hex(),
            "live": self._load.live,
            "draining": self._load.draining,
        }

    def _loose_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._log.emit(Event.FAILED, error=context.get("exception"))
