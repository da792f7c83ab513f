"""``lanai bench isolation``: what a process for each request costs, against one process for all.

Two nodes of one configuration: the tree of processes, and the same code in one process. Each has an
engine of its own with the same model. Sealed requests go to their ports in turn, so that both meet
the same machine.

1. Time to first text: one request at a time, in turn. Between two of them both nodes come to rest,
   so that what one does after its answer is in nobody's time.
2. Throughput: several at once, one node's round after the other's.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench.intervals import median_interval
from cloud_node.identity import certificate_pem, open_channel
from cloud_node.testing.direct import opened_frames, wire_frames
from cloud_node.testing.host import UnsafeHost, open_host
from inference.catalog import Catalog
from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders
from lanai.settings import Settings
from protos.lanai.v1alpha import envelope_pb2, node_pb2_grpc
from trust.envelope import SealedRequest, seal_request
from trust.verification import VerifiedNode

__all__ = ["isolation"]

CONTEXT: Final = 1024
WARM: Final = 3
REST_S: Final = 1.5
START_S: Final = 180.0
QUESTION: Final = "Name a thing that floats on water, and say in a few words why it does. "
MODULES: Final = {"tree": "cloud_node.node", "one": "bench.unsafe_one_process"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Seconds to the first text and to the end of one answer, and its tokens."""

    first_s: float
    whole_s: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
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
        return Asked(
            first_s=first,
            whole_s=time.perf_counter() - began,
            tokens=frame.final.output_tokens,
        )


@click.command()
@click.option("--model", help="catalog name or folder (default: the setting cloud_model)")
@click.option("--runs", default=30, show_default=True, help="requests for the time to first text")
@click.option("--streams", default=8, show_default=True, help="streams at once")
@click.option("--tokens", default=48, show_default=True, help="tokens of each stream")
@click.option("--rounds", default=5, show_default=True, help="repeats of the throughput")
@json_option
def isolation(
    model: str | None, runs: int, streams: int, tokens: int, rounds: int, as_json: bool
) -> None:
    """A process for each request against one for all."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    name = model or Settings.load().settings.cloud_model
    path = Catalog(Folders.standard().models).find(name).path
    with tempfile.TemporaryDirectory(prefix="lanai-") as folder:
        result = asyncio.run(_measure(Path(folder), path, runs, streams, tokens, rounds))
    if as_json:
        emit_json(result)
    else:
        _print(result)


async def _measure(
    folder: Path, model: Path, runs: int, streams: int, tokens: int, rounds: int
) -> dict[str, Any]:
    async with AsyncExitStack() as closing:
        host = await closing.enter_async_context(open_host(folder, model, context_tokens=CONTEXT))
        tree, one = [
            await closing.enter_async_context(_started(host, folder, name)) for name in MODULES
        ]
        # 1.
        firsts = []
        for run in range(WARM + runs):
            pair = (await _first_s(tree), await _first_s(one))
            if run >= WARM:
                firsts.append(pair)
        # 2.
        rates = [
            (await _rate(tree, streams, tokens), await _rate(one, streams, tokens))
            for _ in range(rounds)
        ]
    added = [1000 * (t - o) for t, o in firsts]
    ratios = [t / o for t, o in rates]
    return {
        "model": model.name,
        "tree_ttft_ms": _median([1000 * t for t, _ in firsts]),
        "one_process_ttft_ms": _median([1000 * o for _, o in firsts]),
        "added_ttft_ms": _median(added),
        "added_ttft_ms_ci": _interval(added),
        "streams": streams,
        "tree_tok_s": _median([t for t, _ in rates]),
        "one_process_tok_s": _median([o for _, o in rates]),
        "throughput_ratio": round(statistics.median(ratios), 4),
        "throughput_ratio_ci": _interval(ratios),
    }


@asynccontextmanager
async def _started(host: UnsafeHost, folder: Path, name: str) -> AsyncIterator[Target]:
    config = host.config.model_copy(update={"name": name}).write(folder / f"{name}.json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", MODULES[name], "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=(folder / f"{name}.log").open("wb"),
    )
    try:
        async with asyncio.timeout(START_S):
            if process.stdout is None or not (line := await process.stdout.readline()):
                raise RuntimeError((folder / f"{name}.log").read_text())
        ready = json.loads(line)
        node = (await host.announced())[bytes.fromhex(ready["node_id"])]
        pinned = certificate_pem(node.tls_certificate)
        async with open_channel(ready["address"], pinned) as channel:
            yield Target(node=node, stub=node_pb2_grpc.NodeStub(channel))
    finally:
        process.terminate()
        await process.wait()


async def _first_s(target: Target) -> float:
    await asyncio.sleep(REST_S)
    return (await target.ask(4)).first_s


async def _rate(target: Target, streams: int, tokens: int) -> float:
    """Tokens a second of all streams together, from the first start to the last end."""
    began = time.perf_counter()
    asked = await asyncio.gather(*(target.ask(tokens) for _ in range(streams)))
    return sum(one.tokens for one in asked) / (time.perf_counter() - began)


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


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2)


def _interval(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in median_interval(values)]


def _print(result: dict[str, Any]) -> None:
    table = Table("", "tree of processes", "one process", "difference", "95 % interval")
    table.add_row(
        "time to first text, ms",
        *(str(result[key]) for key in ("tree_ttft_ms", "one_process_ttft_ms", "added_ttft_ms")),
        "{} to {}".format(*result["added_ttft_ms_ci"]),
    )
    table.add_row(
        f"tokens a second, {result['streams']} streams",
        *(str(result[key]) for key in ("tree_tok_s", "one_process_tok_s", "throughput_ratio")),
        "{} to {}".format(*result["throughput_ratio_ci"]),
    )
    Console().print(table)


if __name__ == "__main__":
    isolation()
