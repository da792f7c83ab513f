"""The zygote's loop: it waits for its launcher and its door."""

import selectors
from contextlib import closing, suppress
from typing import Final

from cloud_node.tree.doors import Door, Message, close_all, reading
from cloud_node.tree.zygote import Zygote
from inference.dialogue import parse_info
from inference.wire import Message as EngineMessage

__all__ = ["zygote_loop"]

QUIET_S: Final = 0.3
"""Without a request for so long, the zygote does what can wait."""


def zygote_loop(zygote: Zygote, door: Door, wire: Door) -> None:
    """Until the launcher's or the keyholder's door is gone for good."""

    def on_wire(message: Message, descriptors: list[int]) -> None:
        if message.get("kind") == "connect" and len(descriptors) == 1:
            info = parse_info(EngineMessage(kind="ready", fields=message["info"]))
            zygote.connect(Door.of(descriptors[0]), info)
        else:
            close_all(descriptors)

    with closing(zygote), selectors.DefaultSelector() as selector, suppress(EOFError):
        selector.register(wire, selectors.EVENT_READ, reading(wire, on_wire))
        selector.register(door, selectors.EVENT_READ, reading(door, zygote.take))
        while True:
            heard = selector.select(None if zygote.prepared else QUIET_S)
            if not heard:
                zygote.prepare()
            for key, _ in heard:
                key.data()
