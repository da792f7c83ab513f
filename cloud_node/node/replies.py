"""What a worker says, as the front reads it."""

import asyncio
import socket
from collections.abc import AsyncIterator

from cloud_node.tree.request_socket import DONE, FRAME, MAX_REPLY_BYTES, REFUSED, word
from lanai.errors import CloudRefused, RefusalCode

__all__ = ["replies"]


async def replies(worker: socket.socket) -> AsyncIterator[tuple[bytes, RefusalCode | None]]:
    """Wire frames, then once an empty frame with the failure that the sealed last frame tells.

    Raises ``CloudRefused``: what the worker, the zygote or the keyholder refused, and ``INTERNAL``
    when the worker died before it was done.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            reply = await loop.sock_recv(worker, MAX_REPLY_BYTES)
        except ConnectionResetError:
            # It ended before it had read all of the body; what it said before is still queued.
            continue
        except OSError:
            reply = b""
        kind, payload = reply[:1], reply[1:]
        if kind == FRAME:
            yield payload, None
        elif kind == DONE:
            yield b"", word(payload) if payload else None
            return
        elif kind == REFUSED:
            raise CloudRefused("refused", refusal=word(payload))
        else:
            raise CloudRefused("the worker died", refusal=RefusalCode.INTERNAL)
