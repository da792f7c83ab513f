"""The cloud's side of a path, in a process of its own: what is measured is no shared interpreter.

    python -m bench.seal_cloud sealed|plain FOLDER MODEL

Prints the trust root in one line of JSON. Each line of standard input sets the engines' pace and is
answered by a line; when standard input ends, everything ends.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from bench.paced_engine import Pace, PacedEngine
from bench.unsafe_plain import UnsafePlainGateway, UnsafePlainNode
from cloud_node.testing import UnsafeCloud
from cloud_node.testing.inline_answer import inline_frames
from cloud_node.tree.worker import Room
from inference.text import TextModel, load_text_model
from trust.root import TrustRoot

__all__ = ["CONTEXT", "NODES", "CloudSide"]

NODES: Final = 3
CONTEXT: Final = 4096
ANSWER_S: Final = 60.0
TIMEOUT_S: Final = 60.0


class CloudSide:
    """The parent's handle. Made by ``start``; ``root`` is what a device takes as given."""

    def __init__(self, process: asyncio.subprocess.Process, root: TrustRoot) -> None:
        self._process = process
        self.root = root

    @classmethod
    async def start(cls, kind: str, folder: Path, model: Path) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.seal_cloud", kind, str(folder), str(model),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        try:
            return cls(process, TrustRoot.from_json(json.loads(await _line(process))))
        except BaseException:
            process.kill()
            await process.wait()
            raise

    async def pace(self, pace: Pace) -> None:
        """Set it for all that is asked from now on."""
        if self._process.stdin is None:
            raise ValueError("the process was started without its standard input")
        self._process.stdin.write(json.dumps(asdict(pace)).encode() + b"\n")
        await self._process.stdin.drain()
        await _line(self._process)

    async def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise ValueError("the process was started without its standard output")
    async with asyncio.timeout(ANSWER_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the cloud's side of the measurement ended; see above")
    return line


# In the process ------------------------------------------------------------------------------


class UnsafePlainCloud(UnsafeCloud):
    """Relay and gateway that carry plain frames to one plain node."""

    plain_channel: Any = None

    def make_gateway(self, roster: Any, keys: Any) -> Any:
        return UnsafePlainGateway(self.plain_channel)


async def _run(kind: str, folder: Path, model: Path) -> None:
    text = load_text_model(model)
    [token_id] = text.encode("x")
    engines: list[PacedEngine] = []

    async def start() -> Any:
        engines.append(PacedEngine(token_id, Pace(), vocabulary=text.vocabulary))
        return engines[-1]

    opened = _plain(folder, text, start) if kind == "plain" else _sealed(folder, text, start)
    async with opened as cloud:
        print(json.dumps(cloud.root.to_json()), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            for engine in engines:
                engine.pace = Pace(**json.loads(line))
            print("{}", flush=True)


class _SealedCloud(UnsafeCloud):
    """As the plain one: the answer is made in the node's own event loop."""

    threads = False


@asynccontextmanager
async def _sealed(folder: Path, text: TextModel, start: Any) -> AsyncIterator[UnsafeCloud]:
    cloud = await _SealedCloud.start(
        folder, text=text, engines=[start] * NODES, context_tokens=CONTEXT
    )
    try:
        yield cloud
    finally:
        await cloud.close()


@asynccontextmanager
async def _plain(folder: Path, text: TextModel, start: Any) -> AsyncIterator[UnsafeCloud]:
    async with AsyncExitStack() as closing:
        channel = await _plain_node(text, start, closing)

        class Cloud(UnsafePlainCloud):
            plain_channel = channel

        cloud = await Cloud.start(folder, text=text, engines=[])
        closing.push_async_callback(cloud.close)
        yield cloud


async def _plain_node(text: TextModel, start: Any, closing: AsyncExitStack) -> Any:
    engine = await start()
    closing.push_async_callback(engine.close)
    room = Room(text=text, model="toy", context_tokens=CONTEXT, timeout_s=TIMEOUT_S)
    node = UnsafePlainNode(partial(inline_frames, room, engine))
    channel = await node.start()
    closing.push_async_callback(node.close)
    closing.push_async_callback(channel.close, None)
    return channel


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
