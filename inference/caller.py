"""One of those the engine's process serves: a socket, its frames, the requests it has running.

The owner, who started the process, is waited for: if it does not read, there is nobody else to
blame. A worker that came through the door is not: what it does not read is kept for it up to
``OUTBOX_BYTES``, beyond that it is dropped, and nobody else ever waits.
"""

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from inference.wire import MAX_BLOB_BYTES, FrameReader, Message, encode

__all__ = ["OUTBOX_BYTES", "Caller"]

OUTBOX_BYTES: Final = 1 << 20  # ten thousand tokens, after what the kernel holds


class Caller:
    """Owns ``end``. Request ids on the wire are this caller's own; ``key`` makes them unique."""

    def __init__(
        self,
        end: socket.socket,
        *,
        number: int = 0,
        patient: bool = True,
        blob_limit: int = MAX_BLOB_BYTES,
    ) -> None:
        end.setblocking(patient)
        self.number = number
        self.live: set[str] = set()
        """Its requests that run, by their ids on the wire."""
        self.served = False
        """Whether it ever had a request."""
        self._end = end
        self._reader = FrameReader(blob_limit=blob_limit)
        self._outbox = bytearray()

    def fileno(self) -> int:
        return self._end.fileno()

    def key(self, request: str) -> str:
        """The scheduler's name for one of its requests."""
        return f"{self.number}/{request}"

    @property
    def waiting(self) -> bool:
        """Whether something is left that it has not read."""
        return bool(self._outbox)

    @property
    def finished(self) -> bool:
        """It had a request, it has none, and everything was said."""
        return self.served and not self.live and not self.waiting

    def receive(self, room: bytearray) -> Iterator[Message]:
        """Messages that have come; ``room`` is used for the bytes, and overwritten.

        Raises ``EOFError`` when it is gone, ``OSError``, or ``EngineCrashed`` on a bad frame.
        """
        count = self._end.recv_into(room)
        if not count:
            raise EOFError
        with memoryview(room)[:count] as data:
            try:
                yield from self._reader.feed(data)
            finally:
                data[:] = bytes(count)

    def send(self, message: Message) -> None:
        """Send, or keep what a worker does not read. Raises ``OSError`` when that is too much."""
        frame = encode(message)
        self._outbox += frame
        frame[:] = bytes(len(frame))
        self.flush()
        if len(self._outbox) > OUTBOX_BYTES:
            raise BufferError("it does not read")

    def flush(self) -> None:
        """Send what is kept, as far as it goes."""
        with contextlib.suppress(BlockingIOError):
            while self._outbox:
                sent = self._end.send(self._outbox)
                self._outbox[:sent] = bytes(sent)
                del self._outbox[:sent]

    def close(self) -> None:
        """Let go of the socket and overwrite what was not read."""
        self._outbox[:] = bytes(len(self._outbox))
        self._reader.wipe()
        self._end.close()
