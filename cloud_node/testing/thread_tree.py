"""A node's tree in one process: the same cores, in threads in place of processes.

What each party may see is no longer kept apart by the kernel, hence the name.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from cloud_node.events import EventLog
from cloud_node.node.keyholding import Keyholding
from cloud_node.testing.engine_threads import EngineThreads
from cloud_node.tree.doors import Door, Message
from cloud_node.tree.keyholder import Keyholder
from cloud_node.tree.keyholder_loop import KeyholderLoop
from cloud_node.tree.worker import Room, work
from cloud_node.tree.zygote import Zygote
from cloud_node.tree.zygote_loop import zygote_loop
from inference.dialogue import info_message
from inference.engine import Engine
from trust.attestation.evidence import Attester

__all__ = ["UnsafeThreadTree"]

JOIN_S = 10.0


class _ThreadNursery:
    """Workers that are threads."""

    def __init__(self, room: Room, start: Callable[[Callable[[], None]], None]) -> None:
        self._room = room
        self._start = start

    def send_out(self, message: Message, descriptors: Sequence[int]) -> None:
        """See ``Nursery``."""
        own = [os.dup(descriptor) for descriptor in descriptors]
        self._start(lambda: work(self._room, message, own))

    @property
    def full(self) -> bool:
        return True

    def fill(self) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """Nobody waits."""


class UnsafeThreadTree:
    """Keyholder, zygote and a thread for each request. Belongs to the loop it is made in."""

    def __init__(
        self,
        attesters: Sequence[Attester],
        room: Room,
        engine: Engine,
        log: EventLog,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.keyholding = Keyholding()
        self._threads: list[threading.Thread] = []
        self._wires: list[Door] = []
        self._engines: list[EngineThreads] = []
        keyholder = Keyholder(attesters, clock=clock)
        zygote = Zygote(_ThreadNursery(room, self._start))

        def hold(door: Door, wire: Door) -> None:
            KeyholderLoop(keyholder, door, wire, log).run()

        self._keyholder, self._keyholder_wire = self._piece(hold)
        zygote_door, self._zygote_wire = self._piece(
            lambda door, wire: zygote_loop(zygote, door, wire)
        )
        self._keyholder_wire.send({"kind": "connect"}, (zygote_door.fileno(),))
        zygote_door.close()
        self.keyholding.connect(self._keyholder)
        self.connect(engine)

    def connect(self, engine: Engine) -> None:
        """New requests go to this engine from now on."""
        entrance, door = Door.pair()
        self._engines.append(EngineThreads(engine, door.socket))
        info = info_message(engine.info).fields
        self._zygote_wire.send({"kind": "connect", "info": info}, (entrance.fileno(),))
        entrance.close()

    async def close(self) -> None:
        """End every thread. The engines are the caller's."""
        self.keyholding.close()
        for wire in self._wires:
            wire.close()
        for engine in self._engines:
            await engine.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, JOIN_S)

    def _piece(self, loop: Callable[[Door, Door], None]) -> tuple[Door, Door]:
        """Start ``loop`` in a thread; the ways to its door and its wire."""
        entrance, door = Door.pair()
        ours, theirs = Door.pair()
        self._wires.append(ours)

        def run() -> None:
            try:
                loop(door, theirs)
            finally:
                door.close()
                theirs.close()

        self._start(run)
        return entrance, ours

    def _start(self, run: Callable[[], Any]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
