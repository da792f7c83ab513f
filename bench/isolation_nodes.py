"""Nodes of `bench.isolation`, each a process started for it, and one request to one of them."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_node.identity import certificate_pem, open_channel
from cloud_node.testing.direct import opened_frames, wire_frames
from cloud_node.testing.host import UnsafeHost
from lanai.telemetry import Span
from protos.lanai.v1alpha import envelope_pb2, node_pb2_grpc
from trust.envelope import SealedRequest, seal_request
from trust.verification import VerifiedNode

__all__ = ["Asked", "Target", "started"]

START_S: Final = 180.0
MICROSECONDS: Final = 1_000_000
QUESTION: Final = "Name a thing that floats on water, and say in a few words why it does. "


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Seconds to the first text, those of them in the engine's prefill, and the answer's tokens."""

    first_s: float
    prefill_s: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """One node that runs."""

    node: VerifiedNode
    stub: "node_pb2_grpc.NodeAsyncStub"

    async def ask(self, tokens: int) -> Asked:
        """One sealed request, opened to its end."""
        sealed = _sealed(self.node, tokens)
        began = time.perf_counter()
        first, frame = 0.0, None
        async for frame in opened_frames(sealed, self.stub.Infer(wire_frames(sealed))):
            if frame.HasField("text") and not first:
                first = time.perf_counter() - began
        if frame is None or not frame.HasField("final"):
            raise RuntimeError("the node gave no whole answer")
        spans = {timing.name: timing.duration_us for timing in frame.final.timings}
        return Asked(
            first_s=first,
            prefill_s=spans[Span.NODE_PREFILL] / MICROSECONDS,
            tokens=frame.final.output_tokens,
        )


@asynccontextmanager
async def started(
    host: UnsafeHost, folder: Path, name: str, module: str
) -> AsyncIterator[dict[str, Target]]:
    """The nodes that a process of ``module`` says it has, until the block ends.

    Raises ``RuntimeError`` with its log. The node of the plain ready line has the name "".
    """
    config = host.config.model_copy(update={"name": name}).write(folder / f"{name}.json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=(folder / f"{name}.log").open("wb"),
    )
    try:
        async with asyncio.timeout(START_S), AsyncExitStack() as closing:
            if process.stdout is None or not (line := await process.stdout.readline()):
                raise RuntimeError((folder / f"{name}.log").read_text())
            ready = json.loads(line)
            announced = await host.announced()
            targets = {}
            for key in (key for key in ready if key.endswith("address")):
                label = key.removesuffix("address")
                node = announced[bytes.fromhex(ready[f"{label}node_id"])]
                opened = open_channel(ready[key], certificate_pem(node.tls_certificate))
                channel = await closing.enter_async_context(opened)
                targets[label.rstrip("_")] = Target(node=node, stub=node_pb2_grpc.NodeStub(channel))
            channels = closing.pop_all()
        async with channels:
            yield targets
    finally:
        process.terminate()
        await process.wait()


def _sealed(node: VerifiedNode, tokens: int) -> SealedRequest:
    body = envelope_pb2.RequestBody(
        messages=[envelope_pb2.Message(role="user", text=QUESTION)],
        max_tokens=tokens,
        top_p=1.0,
    )
    return seal_request(
        body.SerializeToString(),
        [node],
        token_hash=bytes(32),
        policy_digest=bytes(32),
        expires_at=int(time.time()) + 600,
    )
