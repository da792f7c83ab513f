"""The parent's end of the socket: an asyncio protocol that speaks whole messages."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from inference.wire import FrameReader, Message, encode
from lanai.errors import EngineCrashed

__all__ = ["Channel"]


class Channel(asyncio.Protocol):
    """Calls ``on_message`` for each message and ``on_lost`` once, when the other end is gone."""

    def __init__(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    @classmethod
    async def open(
        cls, end: socket.socket, on_message: Callable[[Message], None], on_lost: Callable[[], None]
    ) -> "Channel":
        """Take over ``end``; it is closed with the channel."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(on_message, on_lost), sock=end)
        return channel

    @property
    def ended(self) -> bool:
        """Nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    def send(self, message: Message) -> None:
        """Queue one message. After the end it is dropped: ``on_lost`` has told everybody."""
        if self._transport is not None and not self.ended:
            self._transport.write(encode(message))

    def close(self) -> None:
        """Drop what is queued and close; ``lost`` is set once the descriptor is gone."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._on_message(message)
        except EngineCrashed:
            # A peer that breaks the protocol is as good as dead.
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()
        # asyncio closes the socket right after this callback returns.
        asyncio.get_running_loop().call_soon(self.lost.set)
