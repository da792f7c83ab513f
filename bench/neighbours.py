"""``lanai bench neighbours``: whether one request's pace tells what another one says.

Two requests run in one engine at once: a victim, always the same, and a neighbour of fixed
length whose content is of two kinds (one token over and over; tokens drawn at random). Each round
meets both kinds, in random order, and none, as a control that load does show.

Reported: the victim's time to its first token and per token beside each kind, and the difference
between the kinds over the rounds, with its 95% interval (bootstrap of the rounds' median).
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import click
import numpy as np
from rich.console import Console

from bench.intervals import median_interval
from inference.catalog import Catalog
from inference.engine import Engine, GenerateOptions, Prefilled
from inference.process import ProcessEngine
from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders

__all__ = ["neighbours"]

CONTEXT: Final = 512
VICTIM: Final = tuple(range(1000, 1032))
VICTIM_TOKENS: Final = 24
NEIGHBOUR_IDS: Final = 64
NEIGHBOUR_TOKENS: Final = 256
LOWEST_ID, HIGHEST_ID = 1000, 30_000
KINDS: Final = ("one token", "many tokens")
ALONE: Final = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Of one victim: milliseconds to the first token, and for each one after it."""

    first_ms: float
    token_ms: float


@click.command()
@click.option("--model", default="gemma-3-270m", show_default=True, help="catalog name or file")
@click.option("--rounds", default=60, show_default=True, help="each meets both kinds")
@click.option("--threads", default=1, show_default=True, help="of the engine")
@json_option
def neighbours(model: str, rounds: int, threads: int, as_json: bool) -> None:
    """Whether a neighbour's content shows in another request's timing."""
    paces = asyncio.run(_measure(model, rounds, threads))
    result = {
        "rounds": rounds,
        "median_ms": {kind: _medians(paces[kind]) for kind in paces},
        "difference_ms": _differences(*(paces[kind] for kind in KINDS)),
        "load_ms": _differences(paces[ALONE], paces[KINDS[0]]),
    }
    if as_json:
        emit_json(result)
    else:
        _print(result)


async def _measure(model: str, rounds: int, threads: int) -> dict[str, list[Pace]]:
    path = Catalog(Folders.standard().models).find(model).path
    engine = await ProcessEngine.start(path, context_tokens=CONTEXT, threads=threads)
    draw = random.Random(1)  # noqa: S311  a draw anyone can repeat
    paces: dict[str, list[Pace]] = {kind: [] for kind in (*KINDS, ALONE)}
    try:
        await _victim(engine)  # warm
        for _ in range(rounds):
            for kind in draw.sample(list(paces), len(paces)):
                paces[kind].append(await _beside(engine, kind, draw))
    finally:
        await engine.close()
    return paces


async def _beside(engine: Engine, kind: str, draw: random.Random) -> Pace:
    """The victim's pace while a neighbour of ``kind`` decodes; the neighbour then leaves."""
    if kind == ALONE:
        return await _victim(engine)
    options = GenerateOptions(max_tokens=NEIGHBOUR_TOKENS)
    async with aclosing(engine.submit(_content(kind, draw), options)) as events:
        async for event in events:
            if isinstance(event, Prefilled):
                break
        return await _victim(engine)


def _content(kind: str, draw: random.Random) -> list[int]:
    if kind == KINDS[0]:
        return [LOWEST_ID] * NEIGHBOUR_IDS
    return [draw.randint(LOWEST_ID, HIGHEST_ID) for _ in range(NEIGHBOUR_IDS)]


async def _victim(engine: Engine) -> Pace:
    begun, times = time.perf_counter(), list[float]()
    options = GenerateOptions(max_tokens=VICTIM_TOKENS)
    async with aclosing(engine.submit(VICTIM, options)) as events:
        async for _ in events:
            times.append(time.perf_counter())
    return Pace(
        first_ms=1000 * (times[0] - begun),
        token_ms=1000 * (times[-1] - times[0]) / (len(times) - 1),
    )


def _medians(paces: Sequence[Pace]) -> dict[str, float]:
    return {
        "first": round(float(np.median([pace.first_ms for pace in paces])), 3),
        "token": round(float(np.median([pace.token_ms for pace in paces])), 3),
    }


def _differences(one: Sequence[Pace], other: Sequence[Pace]) -> dict[str, dict[str, float]]:
    """``other`` - ``one``, round by round."""
    pairs = list(zip(one, other, strict=True))
    return {
        "first": _interval([b.first_ms - a.first_ms for a, b in pairs]),
        "token": _interval([b.token_ms - a.token_ms for a, b in pairs]),
    }


def _interval(values: Sequence[float]) -> dict[str, float]:
    low, high = median_interval(values, seed=1)
    return {
        "median": round(float(np.median(values)), 3),
        "low": round(low, 3),
        "high": round(high, 3),
    }


def _print(result: dict[str, Any]) -> None:
    console = Console()
    for kind, median in result["median_ms"].items():
        console.print(
            f"{kind}: {median['first']:.1f} ms to the first, {median['token']:.2f} ms a token"
        )
    for name, key in (("between the kinds", "difference_ms"), ("with a neighbour", "load_ms")):
        for part, value in result[key].items():
            console.print(
                f"difference {name}, {part}: {value['median']:+.2f} ms "
                f"({value['low']:+.2f} to {value['high']:+.2f})"
            )


if __name__ == "__main__":
    neighbours()
