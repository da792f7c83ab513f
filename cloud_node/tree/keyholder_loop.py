"""The keyholder's loop: it waits for its launcher, its door, and the sessions of its keys."""

import os
import selectors
import socket
from contextlib import ExitStack, suppress
from typing import Final

from cloud_node.events import Event, EventLog
from cloud_node.tree.doors import Door, Message, close_all, reading
from cloud_node.tree.keyholder import Keyholder
from cloud_node.tree.request_socket import code_of, refuse
from cloud_node.tree.summons import Summons
from lanai.errors import CloudRefused, EnvelopeRejected, LanaiError, RefusalCode

__all__ = ["KeyholderLoop"]

UPKEEP_S: Final = 1.0


class KeyholderLoop:
    """Hands out keys in service and passes requests on, with their secrets, to the zygote."""

    def __init__(self, keyholder: Keyholder, door: Door, wire: Door, log: EventLog) -> None:
        self._keyholder = keyholder
        self._log = log
        self._zygote: Door | None = None
        self._sessions: dict[bytes, socket.socket] = {}
        self._held = ExitStack()
        self._held.callback(self._let_go)
        self._selector = selectors.DefaultSelector()
        self._selector.register(wire, selectors.EVENT_READ, reading(wire, self._on_wire))
        self._selector.register(door, selectors.EVENT_READ, reading(door, self._on_door))

    def run(self) -> None:
        """Until the launcher's or the front's door is gone for good."""
        with self._held, self._selector, suppress(EOFError):
            while True:
                for key, _ in self._selector.select(UPKEEP_S):
                    key.data()
                self._keyholder.drop_expired()

    def _on_wire(self, message: Message, descriptors: list[int]) -> None:
        if message.get("kind") == "connect" and len(descriptors) == 1:
            if self._zygote is not None:
                self._zygote.close()
            self._zygote = Door.of(descriptors[0])
        else:
            close_all(descriptors)

    def _on_door(self, message: Message, descriptors: list[int]) -> None:
        match message.get("kind"), descriptors:
            case "keys", [descriptor]:
                self._offer(message, socket.socket(fileno=descriptor))
            case "request", [descriptor]:
                with socket.socket(fileno=descriptor) as request:
                    self._pass_on(message, request)
            case _:
                close_all(descriptors)

    def _offer(self, message: Message, session: socket.socket) -> None:
        """A new key. It serves for as long as the front keeps the session open."""
        door = Door(session)
        try:
            offer = self._keyholder.offer(message["spki"], lifetime_s=message["lifetime_s"])
            door.send(offer.to_message())
        except (LanaiError, OSError) as error:
            self._log.emit(Event.FAILED, error=error)
            session.close()
            return
        self._sessions[offer.node_id] = session
        self._selector.register(
            session, selectors.EVENT_READ, lambda: self._session_ended(offer.node_id)
        )

    def _session_ended(self, node_id: bytes) -> None:
        session = self._sessions.pop(node_id)
        self._selector.unregister(session)
        session.close()
        self._keyholder.drop(node_id)

    def _let_go(self) -> None:
        for session in self._sessions.values():
            session.close()
        if self._zygote is not None:
            self._zygote.close()

    def _pass_on(self, message: Message, request: socket.socket) -> None:
        try:
            summons = Summons.parse(message)
            opened = self._keyholder.admit(summons.header, summons.node_id)
        except (EnvelopeRejected, CloudRefused) as error:
            refuse(request, code_of(error))
            return
        try:
            self._send_on(message, request, opened.to_secret())
        except OSError:  # no zygote just now
            refuse(request, RefusalCode.BUSY)

    def _send_on(self, message: Message, request: socket.socket, secret: bytes) -> None:
        if self._zygote is None:
            raise ConnectionError
        with ExitStack() as held:
            reading, writing = os.pipe()
            held.callback(os.close, reading)
            held.callback(os.close, writing)
            os.write(writing, secret)
            self._zygote.send(message, (request.fileno(), reading))
