"""``lanai bench seal``: what the seals cost a request, against the same path in plain gRPC.

1. Time to first text: one request at a time, sealed and plain in turn.
2. Throughput: several streams at once, sealed and plain in turn, at a model's pace and at none.

The device runs in this process, relay, gateway and nodes of each path in one beside it: they share
this machine's cores, so the seals' work shows whole, where it would be spread over four machines.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench.paced_engine import Pace
from bench.seal_paths import Paths, Timed, open_paths, request_of
from lanai.cli.output import emit_json, json_option

__all__ = ["seal"]

QUESTION: Final = 1200
"""Characters: with its framing, a body of the smallest size."""
TOKEN_MS: Final = 25.0
"""A little quicker than the default cloud model on this kind of machine (36 tokens a second)."""
WARM: Final = 5


@click.command()
@click.option("--runs", default=40, show_default=True, help="requests for the time to first text")
@click.option("--streams", default="1,8,32", show_default=True, help="streams at once")
@click.option("--tokens", default=128, show_default=True, help="tokens of each stream")
@click.option("--rounds", default=3, show_default=True, help="repeats of each throughput")
@json_option
def seal(runs: int, streams: str, tokens: int, rounds: int, as_json: bool) -> None:
    """Sealed against plain: time to first text, throughput."""
    # gRPC's C core writes lines of its own about what is closed.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    counts = [int(part) for part in streams.split(",")]
    with tempfile.TemporaryDirectory(prefix="lanai-bench-") as folder:
        result = asyncio.run(_measure(Path(folder), runs, counts, tokens, rounds))
    if as_json:
        emit_json(result)
    else:
        _print(result)


async def _measure(
    folder: Path, runs: int, counts: Sequence[int], tokens: int, rounds: int
) -> dict[str, Any]:
    async with open_paths(folder) as paths:
        # 1
        first = await _first_text(paths, runs)
        # 2
        levels = [
            await _throughput(paths, count, tokens, rounds, pace)
            for pace in (Pace(token_s=TOKEN_MS / 1000), Pace())
            for count in counts
        ]
    paced = [level["ratio"] for level in levels if level["token_ms"]]
    free = [level["ratio"] for level in levels if not level["token_ms"]]
    return {
        **first,
        "throughput_ratio": min(paced),
        "throughput_ratio_without_pace": min(free),
        "levels": levels,
    }


async def _first_text(paths: Paths, runs: int) -> dict[str, Any]:
    request, times = request_of(QUESTION, 4), list[tuple[Timed, Timed]]()
    for run in range(WARM + runs):
        if run % 8 == 0:
            await paths.fill(8)
        pair = (await paths.sealed(request), await paths.unsealed(request))
        if run >= WARM:
            times.append(pair)
    sealed, plain = ([pair[i].first_s for pair in times] for i in range(2))
    added = [s - p for s, p in zip(sealed, plain, strict=True)]
    steps = zip(*(pair[0].steps_us for pair in times), strict=True)
    return {
        "plain_ttft_ms": _ms(plain),
        "sealed_ttft_ms": _ms(sealed),
        "added_ttft_ms": _ms(added),
        "device_steps_ms": dict(
            zip(
                ("verify", "token", "seal"), (_ms([v / 1e6 for v in s]) for s in steps), strict=True
            )
        ),
    }


async def _throughput(
    paths: Paths, streams: int, tokens: int, rounds: int, pace: Pace
) -> dict[str, Any]:
    """Tokens a second of all streams together, from the first request's start to the last's end."""
    await paths.pace(pace)
    request = request_of(QUESTION, tokens)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        await paths.fill(streams)
        for ask, found in ((paths.sealed, rates[0]), (paths.unsealed, rates[1])):
            found.append(streams * tokens / await _all(ask, request, streams))
    await paths.pace(Pace())
    sealed, plain = statistics.median(rates[0]), statistics.median(rates[1])
    ratios = [s / p for s, p in zip(*rates, strict=True)]
    return {
        "streams": streams,
        "token_ms": pace.token_s * 1000,
        "plain_tok_s": round(plain, 1),
        "sealed_tok_s": round(sealed, 1),
        "ratio": round(statistics.median(ratios), 4),
    }


async def _all(ask: Callable[[Any], Awaitable[Timed]], request: Any, streams: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(ask(request) for _ in range(streams)))
    return time.perf_counter() - began


def _ms(seconds: Sequence[float]) -> float:
    return round(1000 * statistics.median(seconds), 3)


def _print(result: dict[str, Any]) -> None:
    console, steps = Console(), result["device_steps_ms"]
    console.print(
        f"time to first text: plain {result['plain_ttft_ms']:.2f} ms, "
        f"sealed {result['sealed_ttft_ms']:.2f} ms, {result['added_ttft_ms']:.2f} ms more "
        f"(device: verify {steps['verify']:.2f}, token {steps['token']:.2f}, "
        f"seal {steps['seal']:.2f})"
    )
    table = Table("streams", "ms a token", "plain tok/s", "sealed tok/s", "ratio")
    for level in result["levels"]:
        row = (level["streams"], level["token_ms"], level["plain_tok_s"], level["sealed_tok_s"])
        table.add_row(*map(str, row), f"{level['ratio']:.3f}")
    console.print(table)


if __name__ == "__main__":
    seal()
