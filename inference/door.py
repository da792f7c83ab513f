"""The in-end of a door: a SOCK_SEQPACKET socket on which connected sockets arrive.

Each message is one byte with one descriptor (SCM_RIGHTS, unix(7)). Whatever else a message brings
is closed at once.
"""

import array
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Final

__all__ = ["Door"]

MOST_DESCRIPTORS: Final = 8
FLAGS: Final = socket.MSG_DONTWAIT | getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Door:
    """Owns ``end``. Never waits."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def arrivals(self) -> Iterator[socket.socket]:
        """The sockets that have come; theirs to close. Raises ``EOFError`` when nobody can come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                yield from self._next()

    def _next(self) -> Iterator[socket.socket]:
        room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, _, _ = self._end.recvmsg(1, room, FLAGS)
        descriptors = list(_descriptors(ancillary))
        if not data and not descriptors:
            raise EOFError
        if len(descriptors) == 1 and (end := _stream(descriptors[0])) is not None:
            yield end
        else:
            for descriptor in descriptors:
                os.close(descriptor)

    def close(self) -> None:
        self._end.close()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors = array.array("i")
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            yield from descriptors


def _stream(descriptor: int) -> socket.socket | None:
    """The descriptor as a stream socket, or nothing when it is something else."""
    try:
        end = socket.socket(fileno=descriptor)
    except OSError:
        return None
    if (end.family, end.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
        return end
    end.detach()
    return None
