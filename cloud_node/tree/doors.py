"""Doors: messages with descriptors between the pieces of one node.

A door is one end of an ``AF_UNIX`` socket pair that keeps message boundaries (``SOCK_SEQPACKET``).
A message is a msgpack map; descriptors travel beside it (``SCM_RIGHTS``, unix(7)) and arrive
close-on-exec. Both ends are ours: a message that breaks a rule means a broken peer, and the door
is treated as closed.
"""

import array
import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgpack

__all__ = ["AsyncDoor", "Door", "Handle", "Message", "close_all", "reading", "wait_readable"]

MAX_MESSAGE_BYTES: Final = 160 * 1024
"""Below the kernel's default send buffer; evidence of several kinds is the largest of them."""
MAX_DESCRIPTORS: Final = 4

Message = dict[str, Any]
Handle = Callable[[Message, list[int]], None]


class Door:
    """One end. Blocking unless its socket was set otherwise."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    @classmethod
    def pair(cls) -> "tuple[Door, Door]":
        """Two ends of a new door."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    @classmethod
    def of(cls, descriptor: int) -> "Door":
        """The end that came by inheritance or in a message; it is ours to close."""
        end = socket.socket(fileno=descriptor)
        end.set_inheritable(False)
        return cls(end)

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one message. The descriptors stay open here: closing them is the caller's.

        Raises ``OSError`` when the other end is gone, ``BlockingIOError`` when a non-blocking
        door is full.
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self.socket.sendmsg([msgpack.packb(dict(message))], rights if descriptors else [])

    def offer(self, descriptor: int) -> None:
        """Send a descriptor alone: all that the engine's door takes. Raises ``OSError``."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        self.socket.sendmsg([b"\0"], [rights])

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors, now the caller's to close.

        Raises ``EOFError`` when the other end is gone or breaks the protocol, and
        ``BlockingIOError`` when a non-blocking door is empty.
        """
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        data, beside, flags, _ = self.socket.recvmsg(
            MAX_MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC
        )
        descriptors = list(_descriptors(beside))
        cut = flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        message = None if cut else _parse(data)
        if message is None:
            close_all(descriptors)
            raise EOFError
        return message, descriptors

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


class AsyncDoor:
    """A door in an event loop. One task receives; sending never waits."""

    def __init__(self, door: Door) -> None:
        door.socket.setblocking(False)
        self._door = door

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Raises ``OSError`` when the other end is gone or does not read."""
        self._door.send(message, descriptors)

    async def receive(self) -> tuple[Message, list[int]]:
        """See ``Door.receive``."""
        while True:
            try:
                return self._door.receive()
            except BlockingIOError:
                await wait_readable(self._door.socket)
            except OSError:
                raise EOFError from None

    def close(self) -> None:
        self._door.close()


async def wait_readable(end: socket.socket) -> None:
    """Until ``end`` can be read or is closed by its peer."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(end, _settle, readable)
    try:
        await readable
    finally:
        loop.remove_reader(end)


def close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def reading(door: Door, handle: Handle) -> Callable[[], None]:
    """For a selector: hand the next message to ``handle``. Raises as ``Door.receive`` does."""
    return lambda: handle(*door.receive())


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _descriptors(beside: Iterable[tuple[int, int, bytes]]) -> Iterable[int]:
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received = array.array("i")
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
            yield from received


def _parse(data: bytes) -> Message | None:
    """The message; ``None`` for the end, and for what breaks the protocol."""
    try:
        message = msgpack.unpackb(data, strict_map_key=True, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return message if isinstance(message, dict) else None
