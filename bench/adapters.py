"""What adapters cost: loading one, swapping between two requests, running with one.

Random adapters of the size and shape of trained ones: nothing here depends on the numbers. Speeds
are of interleaved rounds in this process, swaps are seen from outside: the time from a request to
its first token, of an engine in its own process.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from inference.adapters import Base, base_model_at, read_adapter
from inference.adapters.base import config_at
from inference.catalog import Catalog, InstalledModel
from inference.device_speed import Plan, measure
from inference.engine import GenerateOptions, Prefilled
from inference.openmp import set_openmp_here
from inference.process import ProcessEngine
from inference.testing.random_adapter import write_random_adapter
from lanai.cli.output import emit_json
from lanai.folders import Folders

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["adapters"]

CONTEXT: Final = 640
NAMES: Final = ("one", "two")


@click.command()
@click.option("--model", default="smollm2-135m-instruct", show_default=True, help="name or folder")
@click.option("--rank", type=click.IntRange(1, 256), default=16, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="of speed")
@click.option("--swaps", type=click.IntRange(1), default=60, show_default=True, help="of each kind")
def adapters(model: str, rank: int, threads: int, runs: int, swaps: int) -> None:
    """Load, swap and run with adapters on all seven matrices. Prints JSON: medians.

    swap_ms: how much later the first token comes behind another adapter than behind the same.
    """
    set_openmp_here(threads)
    found = Catalog(Folders.standard().models).find(model)
    with tempfile.TemporaryDirectory() as folder:
        shelf = Path(folder)
        base = Base(name=found.name, architecture=found.architecture, sha256=found.sha256)
        for seed, name in enumerate(NAMES):
            write_random_adapter(
                shelf / name, config_at(found.path), base=base, rank=rank, strength=0.1, seed=seed
            )
        emit_json(
            {
                "model": found.name,
                "rank": rank,
                **_in_process(found, shelf, threads, runs),
                **asyncio.run(_first_tokens(found, shelf, threads, swaps)),
            }
        )


class _With:
    """A ``Runs`` with an adapter on, or none."""

    def __init__(self, model: "LanguageModel", adapter: Any) -> None:
        self._model = model
        self._adapter = adapter
        self._cache = model.new_cache(CONTEXT)

    def prompt(self, ids: NDArray[np.int64]) -> None:
        import torch

        self._cache.length = 0
        self._model.forward(torch.from_numpy(ids), self._cache, adapter=self._adapter)

    def step(self, token: int) -> None:
        import torch

        self._model.forward(torch.tensor([token]), self._cache, adapter=self._adapter)


def _in_process(model: InstalledModel, shelf: Path, threads: int, runs: int) -> dict[str, Any]:
    import torch

    from inference.decoder import load_decoder

    torch.set_num_threads(threads)
    decoder = load_decoder(model.path, context_tokens=CONTEXT)
    base = base_model_at(model.path, sha256=model.sha256)
    load_ms, ready = [], None
    for _ in range(runs + 1):
        began = time.perf_counter()
        ready = decoder.adapted(read_adapter(shelf / NAMES[0], decoder.config, base=base))
        load_ms.append((time.perf_counter() - began) * 1e3)
    speeds, _ = measure(
        {"alone": _With(decoder, None), "adapter": _With(decoder, ready)},
        lambda: 0.0,
        Plan(rounds=runs, prompt_tokens=512, new_tokens=96),
        vocabulary=decoder.config.vocabulary,
    )
    return {
        "ready_bytes": 0 if ready is None else ready.bytes,
        "load_ms": round(statistics.median(load_ms[1:]), 1),
        "speed": speeds,
    }


async def _first_tokens(
    model: InstalledModel, shelf: Path, threads: int, swaps: int
) -> dict[str, float]:
    """Milliseconds to the first token of eight, after the same adapter and after another."""
    engine = await ProcessEngine.start(
        model.path,
        context_tokens=CONTEXT,
        threads=threads,
        weights_sha256=model.sha256,
        adapters=shelf,
    )
    try:
        first = [await _ms(engine, name) for name in NAMES]
        same = [await _ms(engine, NAMES[0]) for _ in range(swaps + 1)][1:]
        other = [await _ms(engine, NAMES[turn % 2]) for turn in range(1, swaps + 1)]
    finally:
        await engine.close()
    return {
        "first_token_ms_uncached": round(first[1], 2),
        "first_token_ms_same": _median(same),
        "first_token_ms_swapped": _median(other),
        "swap_ms": round(statistics.median(other) - statistics.median(same), 3),
    }


async def _ms(engine: ProcessEngine, adapter: str) -> float:
    began = time.perf_counter()
    async with aclosing(
        engine.submit(list(range(300, 308)), GenerateOptions(max_tokens=1), adapter=adapter)
    ) as events:
        async for event in events:
            if isinstance(event, Prefilled):
                break
    return (time.perf_counter() - began) * 1e3


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2)
