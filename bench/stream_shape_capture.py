"""Asks all prompts through the listened-to cloud, and puts together who asked and what was seen.

One prompt is asked under both shapes with one seed, so that the answers are alike; the order is
shuffled, so that a load that comes and goes falls on all alike. What is kept are numbers.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.stream_shape_attack import Trace
from bench.stream_shape_cloud import tag_of
from bench.stream_shape_prompts import Prompt
from cloud_node.testing import UnsafeCloud
from device_agent.cloud import Account, CheckpointStore, CloudClient, Wallet
from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport
from device_agent.cloud_seam import CloudAsk, StreamShape
from inference.engine import Sampling
from inference.text import ChatMessage
from lanai.content import Content
from protos.lanai.v1alpha.envelope_pb2 import AnswerFrame
from trust.envelope import FRAME_ROOM
from trust.root import TrustRoot

__all__ = ["Order", "Seen", "capture"]

DEADLINE_S: Final = 120.0
SETTLE_S: Final = 0.5
"""For the ends of the last exchanges to pass the relay."""
STREAM_LIMIT: Final = 2**26
NONCE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One request to be made."""

    prompt: Prompt
    shape: StreamShape
    seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One answer: frames at the relay (seconds, bytes), and what its device knows of it."""

    group: str
    listened_for: bool
    shape: StreamShape
    seed: int
    frames: tuple[tuple[float, int], ...]
    pieces: tuple[int, ...]
    """Bytes of each text frame's message, under the padding."""
    first_s: float
    total_s: float

    @property
    def trace(self) -> Trace:
        """What somebody at the relay sees."""
        return self._trace([size for _, size in self.frames])

    @property
    def unpadded(self) -> Trace:
        """What would be seen of a ``padded`` answer had its text frames no padding."""
        sizes = [size for _, size in self.frames]
        for number, piece in enumerate(self.pieces, start=NONCE):
            sizes[number] -= FRAME_ROOM - piece
        return self._trace(sizes)

    def _trace(self, sizes: Sequence[int]) -> Trace:
        return Trace(
            sizes=tuple(sizes),
            times=tuple(at for at, _ in self.frames),
            group=self.group,
            listened_for=self.listened_for,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        frames = tuple((at, size) for at, size in value["frames"])
        return cls(**{**value, "frames": frames, "pieces": tuple(value["pieces"])})


async def capture(
    orders: Sequence[Order], model: Path, folder: Path, *, lanes: int, seconds: float
) -> AsyncIterator[Seen]:
    """Ask ``lanes`` at a time for ``seconds``, through a cloud started below ``folder``."""
    async with _cloud(folder, model) as (process, root), AsyncExitStack() as closing:
        queue = _until(time.monotonic() + seconds, _shuffled(orders))
        devices = [_Lane.open(root, folder / f"lane-{i}", closing) for i in range(lanes)]
        tagged = await asyncio.gather(*(device.run(queue) for device in devices))
        await asyncio.sleep(SETTLE_S)
        noted = await _noted(process)
    for tag, seen in (pair for lane in tagged for pair in lane):
        yield Seen(frames=tuple((at, size) for at, size in noted[tag]), **seen)


def _until(end: float, orders: Sequence[Order]) -> Iterator[Order]:
    for order in orders:
        if time.monotonic() >= end:
            return
        yield order


def _shuffled(orders: Sequence[Order]) -> list[Order]:
    return random.Random(1).sample(orders, len(orders))  # noqa: S311  an order anyone can repeat


class _Tagged(GrpcRelayTransport):
    """Remembers by what the relay will find the last exchange again."""

    tag = ""

    async def exchange(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async def sent() -> AsyncIterator[bytes]:
            first = True
            async for frame in frames:
                if first:
                    self.tag, first = tag_of(frame), False
                yield frame

        async for reply in super().exchange(sent()):
            yield reply


class _Lane:
    """One device: a client with a connection of its own, one request at a time."""

    def __init__(self, client: CloudClient, transport: _Tagged) -> None:
        self._client = client
        self._transport = transport

    @classmethod
    def open(cls, root: TrustRoot, folder: Path, closing: AsyncExitStack) -> Self:
        folder.mkdir()
        transport = _Tagged(root.relay)
        client = CloudClient(
            root,
            transport=transport,
            issuer=GrpcIssuerTransport(root.issuer),
            account=Account(account=UnsafeCloud.account, credential=UnsafeCloud.credential),
            wallet=Wallet.of(root, folder / "wallet.json"),
            checkpoints=CheckpointStore.of(root, folder / "checkpoints"),
            seal_to_nodes=1,
        )
        closing.push_async_callback(client.close)
        return cls(client, transport)

    async def run(self, orders: Iterator[Order]) -> list[tuple[str, dict[str, Any]]]:
        """Each order's tag, and what the device knows of its answer."""
        return [await self._tagged(order) for order in orders]

    async def _tagged(self, order: Order) -> tuple[str, dict[str, Any]]:
        known = await self._ask(order)
        return self._transport.tag, known

    async def _ask(self, order: Order) -> dict[str, Any]:
        message = ChatMessage(role="user", text=Content(order.prompt.text))
        ask = CloudAsk(
            messages=(message,),
            max_tokens=order.max_tokens,
            sampling=Sampling(temperature=1.0, seed=order.seed),
            stop=(),
            shape=order.shape,
        )
        begun, first, pieces = time.perf_counter(), 0.0, list[int]()
        async with self._client.open(ask, deadline_s=DEADLINE_S) as stream:
            async for piece in stream:
                first = first or time.perf_counter()
                pieces.append(AnswerFrame(text=str(piece)).ByteSize())
        ended = time.perf_counter()
        return {
            "group": order.prompt.group,
            "listened_for": order.prompt.listened_for,
            "shape": order.shape,
            "seed": order.seed,
            "pieces": tuple(pieces),
            "first_s": (first or ended) - begun,
            "total_s": ended - begun,
        }


@asynccontextmanager
async def _cloud(
    folder: Path, model: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, TrustRoot]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.stream_shape_cloud", str(folder / "cloud"), str(model),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=STREAM_LIMIT,
    )  # fmt: skip
    try:
        yield process, TrustRoot.from_json(await _line(process))
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _noted(process: asyncio.subprocess.Process) -> dict[str, list[tuple[float, int]]]:
    if process.stdin is None:
        raise ValueError("the process was started without its standard input")
    process.stdin.write(b"\n")
    await process.stdin.drain()
    noted: dict[str, list[tuple[float, int]]] = await _line(process)
    return noted


async def _line(process: asyncio.subprocess.Process) -> Any:
    if process.stdout is None:
        raise ValueError("the process was started without its standard output")
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the cloud that is measured ended; see above")
    return json.loads(line)
