"""The cloud that is listened to, in a process of its own: its relay notes sizes and times.

    python -m bench.stream_shape_cloud FOLDER MODEL

Prints the trust root in one line of JSON. Each line of standard input is answered by what the relay
noted since the last, and when standard input ends, everything ends. Nothing is noted of contents: a
frame's size and time, and a hash of each exchange's first sealed frame, by which the device that
sent it finds it again.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from cloud_node.testing import UnsafeCloud
from inference.process import ProcessEngine
from inference.text import load_text_model
from protos.lanai.v1alpha.gateway_pb2 import Opaque

__all__ = ["CONTEXT", "listening", "tag_of"]

CONTEXT: Final = 512
THREADS: Final = 1


def tag_of(payload: bytes) -> str:
    """By which an exchange is found again."""
    return hashlib.sha256(payload).hexdigest()


class Listening:
    """Stands around a relay's ``Exchange``, and notes what anybody at the relay could."""

    def __init__(self, relay: Any) -> None:
        self._relay = relay
        self.noted: dict[str, list[tuple[float, int]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._relay, name)

    async def Exchange(  # noqa: N802  the wire's name
        self, request_iterator: AsyncIterator[Opaque], context: Any
    ) -> AsyncIterator[Opaque]:
        """The relay's own, noted. Times count from the request's first frame."""
        begun, notes = 0.0, list[tuple[float, int]]()

        async def heard() -> AsyncIterator[Opaque]:
            nonlocal begun
            async for frame in request_iterator:
                if not begun:
                    begun = time.perf_counter()
                    self.noted[tag_of(frame.payload)] = notes
                yield frame

        async for frame in self._relay.Exchange(heard(), context):
            notes.append((time.perf_counter() - begun, len(frame.payload)))
            yield frame


class ListeningCloud(UnsafeCloud):
    """A cloud whose relay listens."""

    relay: Listening

    def make_relay(self, gateway: Any, config: Any) -> Any:
        self.relay = Listening(super().make_relay(gateway, config))
        return self.relay


async def listening(folder: Path, model: Path) -> None:
    """The process: one node with the real engine."""

    async def engine() -> ProcessEngine:
        return await ProcessEngine.start(model, context_tokens=CONTEXT, threads=THREADS)

    cloud = await ListeningCloud.start(
        folder, text=load_text_model(model), engines=[engine], context_tokens=CONTEXT
    )
    try:
        print(json.dumps(cloud.root.to_json()), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            noted, cloud.relay.noted = cloud.relay.noted, {}
            print(json.dumps(noted), flush=True)
    finally:
        await cloud.close()


if __name__ == "__main__":
    asyncio.run(listening(Path(sys.argv[1]), Path(sys.argv[2])))
