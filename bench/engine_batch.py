"""``lanai bench batch``: what several requests at once get out of one engine.

1. Tokens a second of 1 to 16 requests together: as rows of one step, and each by itself, in
   turn, with the same weights; and the ratio of the two within a run.
2. What a request notices of its neighbour's content: its time beside a prompt of random ids and
   beside one of a single id, same lengths, in turn. Load is the same, so the times should be.

The engine's scheduler and model run in this process. Random token ids; nothing becomes text.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from bench.intervals import median_interval
from inference.catalog import Catalog
from inference.engine import GenerateOptions
from inference.openmp import set_openmp_here
from inference.runner import Prediction, Runner, Slot, step_alone
from inference.scheduler import Scheduler
from lanai.cli.output import emit_json
from lanai.folders import Folders

__all__ = ["batch"]

PROMPT_TOKENS: Final = 32
CONCURRENT: Final = (1, 2, 4, 8, 16)
Ids = NDArray[np.int32]


class Alone:
    """A ``Runner`` kept from batching."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> Slot:
        return self._runner.begin(prompt, answer, adapter)

    def step(self, slots: Sequence[Slot], ids: Ids) -> list[Prediction]:
        return step_alone(slots, ids)


@click.command()
@click.option("--model", default="gemma-3-270m", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("--new-tokens", default=32, show_default=True)
def batch(model: str, threads: int, runs: int, new_tokens: int) -> None:
    """Concurrent requests, batched and one at a time. Prints JSON: medians over the runs."""
    runner = _load(model, threads, PROMPT_TOKENS + new_tokens)
    emit_json(
        {
            "model": model,
            "threads": threads,
            **_speeds({"batched": runner, "alone": Alone(runner)}, runs, new_tokens),
            "beside_s": _beside(runner, 4 * runs, new_tokens),
        }
    )


def _load(model: str, threads: int, context: int) -> Runner:
    set_openmp_here(threads)
    import torch

    from inference.decoder import load_decoder
    from inference.decoder_runner import DecoderRunner

    torch.set_num_threads(threads)
    path = Catalog(Folders.standard().models).find(model).path
    return DecoderRunner(load_decoder(path, context_tokens=context))


def _speeds(runners: dict[str, Runner], runs: int, new_tokens: int) -> dict[str, Any]:
    """Tokens a second of the answers, by runner and number of requests; what batching gains."""
    seen = {(name, count): list[float]() for count in CONCURRENT for name in runners}
    for run in range(runs + 1):
        for name, count in seen:
            prompts = [_random(100 * run + row) for row in range(count)]
            seconds = _answer_s(runners[name], prompts, new_tokens)
            if run:  # the first one warms
                seen[name, count].append(count * (new_tokens - 1) / seconds)
    return {
        "tokens_s": {
            name: {count: round(statistics.median(seen[name, count]), 1) for count in CONCURRENT}
            for name in runners
        },
        "gain": {
            count: _ratio(seen["batched", count], seen["alone", count]) for count in CONCURRENT
        },
    }


def _ratio(one: list[float], other: list[float]) -> dict[str, Any]:
    ratios = [first / second for first, second in zip(one, other, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "interval": [round(end, 3) for end in median_interval(ratios)],
    }


def _beside(runner: Runner, runs: int, new_tokens: int) -> dict[str, Any]:
    """Seconds of an answer beside another, by what the other was asked."""
    seen: dict[str, list[float]] = {"random": [], "repeated": [], "random again": []}
    for run in range(runs):
        for kind, times in seen.items():
            neighbour = (
                np.full(PROMPT_TOKENS, 300, np.int32) if kind == "repeated" else _random(run)
            )
            times.append(_answer_s(runner, [_random(7), neighbour], new_tokens))
    return {
        kind: {
            "median": round(statistics.median(times), 4),
            "quartiles": [round(cut, 4) for cut in statistics.quantiles(times)[::2]],
        }
        for kind, times in seen.items()
    }


def _answer_s(runner: Runner, prompts: list[Ids], new_tokens: int) -> float:
    """Seconds from the last prefill to the last token."""
    scheduler = Scheduler(runner)
    for number, prompt in enumerate(prompts):
        scheduler.submit(str(number), prompt, GenerateOptions(max_tokens=new_tokens))
    for _ in prompts:
        list(scheduler.step())
    began = time.perf_counter()
    while not scheduler.idle:
        list(scheduler.step())
    return time.perf_counter() - began


def _random(seed: int) -> Ids:
    return np.random.default_rng(seed).integers(300, 40_000, PROMPT_TOKENS, dtype=np.int32)
