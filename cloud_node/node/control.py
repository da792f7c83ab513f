"""The node's end of the launcher's wire: it reports its load and hears `drain`. Nothing else.

A socket pair inherited from the launcher. Out: one JSON line each half second,
`{"live": n, "draining": bool, "engine": bool}`, so that a frozen node shows. In: the line `drain`.
When the launcher's end closes, the node stops.
"""

import asyncio
import json
import socket

from cloud_node.node.load import Load

__all__ = ["BEAT_S", "Control"]

BEAT_S = 0.5


class Control:
    """Made from the file descriptor the launcher passed."""

    def __init__(self, descriptor: int, load: Load) -> None:
        self._descriptor = descriptor
        self._load = load

    async def run(self, stopping: asyncio.Event) -> None:
        """Report and listen until the launcher is gone; then set ``stopping``."""
        wire = socket.socket(fileno=self._descriptor)
        reader, writer = await asyncio.open_connection(sock=wire)
        beating = asyncio.create_task(self._beat(writer))
        try:
            while line := await reader.readline():
                if line == b"drain\n":
                    self._load.drain()
        except (OSError, ValueError):  # ValueError: a line past the reader's limit
            pass
        finally:
            beating.cancel()
            writer.close()
            stopping.set()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(self._line())
            await writer.drain()
            await asyncio.sleep(BEAT_S)

    def _line(self) -> bytes:
        load = self._load
        beat = {"live": load.live, "draining": load.draining, "engine": load.engine_ready}
        return json.dumps(beat).encode() + b"\n"
