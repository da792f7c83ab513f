"""The zygote's loop: it waits for its launcher and its door."""

import selectors
from contextlib import closing, suppress

from cloud_node.tree.doors import Door, Message, close_all, reading
from cloud_node.tree.zygote import Zygote
from inference.dialogue import parse_info
from inference.wire import Message as EngineMessage

__all__ = ["zygote_loop"]


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
            for key, _ in selector.select():
                key.data()
