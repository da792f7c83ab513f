"""``lanai bench isolation``: what a process for each request costs, against one process for all.

Two nodes of one configuration: the tree of processes, and the same code in one process, both over
one engine process: the tree's, confined. Sealed requests go to their ports in turn, so that both
meet the same machine and the same engine; who is asked first takes turns too.

With ``--own-engines`` each has an engine of its own, one confined, one plain. Then something of a
start, perhaps where its memory happens to lie, is in the figures: two starts of the very same
engine differ by 5 ms in 200 (standard deviation of nine pairs), as much as is looked for here. So
there are several starts in either case, and the intervals count a start as one draw.

1. Time to first text: one request at a time, in turn. Between two of them both nodes come to rest,
   so that what one does after its answer is in nobody's time.
2. Throughput: as many streams as are asked for at any time, each followed by another as soon as it
   has ended; one node's round after the other's, with the same rest between.

``--control`` has one process measured against another: what is found where nothing differs.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench.intervals import grouped_median_interval
from bench.isolation_nodes import Asked, Target, started
from cloud_node.testing.host import UnsafeHost, open_host
from inference.catalog import Catalog
from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["isolation", "share"]

CONTEXT: Final = 1024
WARM: Final = 2
REST_S: Final = 1.5
IN_A_ROW: Final = 3  # of a stream in a round: what is at its ends is not throughput
COUNT: Final = click.IntRange(min=1)
TREE: Final = "cloud_node.node"
ONE: Final = "bench.unsafe_one_process"
SHARED: Final = "bench.unsafe_shared_engine"

Groups = list[list[float]]
"""Values by start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is asked. ``runs`` and ``rounds`` are of all starts together."""

    starts: int
    runs: int
    rounds: int
    streams: int
    tokens: int
    own_engines: bool
    control: bool


@click.command()
@click.option("--model", help="catalog name or folder (default: the setting cloud_model)")
@click.option(
    "--starts", type=COUNT, default=6, show_default=True, help="times that both are started"
)
@click.option(
    "--runs", type=COUNT, default=30, show_default=True, help="requests for the time to first text"
)
@click.option("--streams", type=COUNT, default=8, show_default=True, help="streams at once")
@click.option("--tokens", type=COUNT, default=48, show_default=True, help="tokens of each stream")
@click.option(
    "--rounds", type=COUNT, default=12, show_default=True, help="repeats of the throughput"
)
@click.option("--own-engines", is_flag=True, help="an engine for each node, with its luck")
@click.option("--control", is_flag=True, help="one process against another")
@json_option
def isolation(model: str | None, as_json: bool, **counts: Any) -> None:
    """A process for each request against one for all."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    name = model or Settings.load().settings.cloud_model
    path = Catalog(Folders.standard().models).find(name).path
    with tempfile.TemporaryDirectory(prefix="lanai-") as folder:
        result = asyncio.run(_measure(Path(folder), path, Plan(**counts)))
    if as_json:
        emit_json(result)
    else:
        _print(result)


async def _measure(folder: Path, model: Path, plan: Plan) -> dict[str, Any]:
    firsts: list[list[tuple[Asked, Asked]]] = []
    rates: list[list[tuple[float, float]]] = []
    async with open_host(folder, model, context_tokens=CONTEXT) as host:
        for start in range(plan.starts):
            async with _both(host, folder, plan, start) as (tree, one):
                firsts.append(await _firsts(tree, one, share(plan.runs, plan.starts, start)))
                rates.append(await _rates(tree, one, share(plan.rounds, plan.starts, start), plan))
    ratios = [[t / o for t, o in pairs] for pairs in rates]
    return {
        "model": model.name,
        "own_engines": plan.own_engines,
        "control": plan.control,
        "starts": plan.starts,
        **_first_figures(firsts),
        "streams": plan.streams,
        "tree_tok_s": _median([[t for t, _ in pairs] for pairs in rates]),
        "one_process_tok_s": _median([[o for _, o in pairs] for pairs in rates]),
        "throughput_ratio": round(statistics.median(_all(ratios)), 4),
        "throughput_ratio_ci": _interval(ratios),
        "throughput_ratio_by_start": [round(statistics.median(one), 4) for one in ratios if one],
    }


def _first_figures(firsts: list[list[tuple[Asked, Asked]]]) -> dict[str, Any]:
    """Of all that is added, what lies outside the engine's prefill is known far better."""
    added = [[1000 * (t.first_s - o.first_s) for t, o in pairs] for pairs in firsts]
    inside = [[1000 * (t.prefill_s - o.prefill_s) for t, o in pairs] for pairs in firsts]
    way = [[a - i for a, i in zip(*both, strict=True)] for both in zip(added, inside, strict=True)]
    return {
        "tree_ttft_ms": _median([[1000 * t.first_s for t, _ in pairs] for pairs in firsts]),
        "one_process_ttft_ms": _median([[1000 * o.first_s for _, o in pairs] for pairs in firsts]),
        "added_ttft_ms": _median(added),
        "added_ttft_ms_ci": _interval(added),
        "added_ttft_ms_by_start": [round(statistics.median(one), 2) for one in added if one],
        "added_outside_prefill_ms": _median(way),
        "added_outside_prefill_ms_ci": _interval(way),
        "added_prefill_ms": _median(inside),
        "added_prefill_ms_ci": _interval(inside),
    }


@asynccontextmanager
async def _both(
    host: UnsafeHost, folder: Path, plan: Plan, start: int
) -> AsyncIterator[tuple[Target, Target]]:
    """What is compared: the first with the second."""
    if not plan.own_engines:
        async with started(host, folder, f"{start}", SHARED) as nodes:
            yield nodes["twin" if plan.control else ""], nodes["one"]
        return
    modules = (ONE if plan.control else TREE), ONE
    async with AsyncExitStack() as closing:
        found = {}
        # Of odd starts the second is there first.
        for at in (0, 1) if start % 2 == 0 else (1, 0):
            name = f"{start}-{at}"
            nodes = await closing.enter_async_context(started(host, folder, name, modules[at]))
            found[at] = nodes[""]
        yield found[0], found[1]


async def _firsts(tree: Target, one: Target, runs: int) -> list[tuple[Asked, Asked]]:
    # 1.
    pairs = []
    for run in range(WARM + runs):
        asked = {target: await _rested(target) for target in _in_turn(tree, one, run)}
        if run >= WARM:
            pairs.append((asked[tree], asked[one]))
    return pairs


async def _rates(tree: Target, one: Target, rounds: int, plan: Plan) -> list[tuple[float, float]]:
    # 2.
    pairs = []
    for number in range(rounds):
        rates = {
            target: await _rate(target, plan.streams, plan.tokens)
            for target in _in_turn(tree, one, number)
        }
        pairs.append((rates[tree], rates[one]))
    return pairs


def _in_turn(tree: Target, one: Target, number: int) -> tuple[Target, Target]:
    return (tree, one) if number % 2 == 0 else (one, tree)


def share(count: int, starts: int, start: int) -> int:
    """Of ``count``, how many are this start's."""
    return len(range(start, count, starts))


async def _rested(target: Target) -> Asked:
    await asyncio.sleep(REST_S)
    return await target.ask(4)


async def _rate(target: Target, streams: int, tokens: int) -> float:
    """Tokens a second of all streams together, from the first start to the last end."""
    await asyncio.sleep(REST_S)
    began = time.perf_counter()

    async def lane() -> int:
        return sum([(await target.ask(tokens)).tokens for _ in range(IN_A_ROW)])

    made = await asyncio.gather(*(lane() for _ in range(streams)))
    return sum(made) / (time.perf_counter() - began)


def _all(groups: Groups) -> list[float]:
    return [value for group in groups for value in group]


def _median(groups: Groups) -> float:
    return round(statistics.median(_all(groups)), 2)


def _interval(groups: Groups) -> list[float]:
    return [round(value, 4) for value in grouped_median_interval(groups)]


def _print(result: dict[str, Any]) -> None:
    compared = "one process, the control" if result["control"] else "tree of processes"
    table = Table("", compared, "one process", "difference", "95 % interval")
    table.add_row(
        "time to first text, ms",
        *(str(result[key]) for key in ("tree_ttft_ms", "one_process_ttft_ms", "added_ttft_ms")),
        "{} to {}".format(*result["added_ttft_ms_ci"]),
    )
    table.add_row(
        "  of it outside the engine's prefill, ms",
        *("", "", str(result["added_outside_prefill_ms"])),
        "{} to {}".format(*result["added_outside_prefill_ms_ci"]),
    )
    table.add_row(
        f"tokens a second, {result['streams']} streams",
        *(str(result[key]) for key in ("tree_tok_s", "one_process_tok_s", "throughput_ratio")),
        "{} to {}".format(*result["throughput_ratio_ci"]),
    )
    Console().print(table)


if __name__ == "__main__":
    isolation()
