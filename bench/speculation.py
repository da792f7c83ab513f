"""``lanai bench speculation``: what guessing tokens by prompt lookup gains, and what it costs.

Answers that copy (texts to correct, to rewrite, to take facts from) and plain chat, each with and
without speculation in turn, in this process. The tokens must be the same. By set: the speed with
it as a multiple of that without (medians of the pairs, by the wall clock and by processor time),
the worst pair, passes saved, and how many guesses were right.
"""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from bench.speculation_texts import CHAT, COPYING
from inference.catalog import Catalog
from inference.engine import Finished, GenerateOptions, Sampling, Token
from inference.openmp import set_openmp_here
from inference.runner import Runner
from inference.scheduler import Scheduler
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.cli.output import emit_json
from lanai.content import Content
from lanai.folders import Folders

__all__ = ["speculation"]

CONTEXT: Final = 1024
SETS: Final[Mapping[str, Sequence[str]]] = {"copying": COPYING, "chat": CHAT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One answer. No ``repr`` of its tokens is ever printed: the texts are the bench's own."""

    tokens: tuple[int, ...]
    wall_s: float
    cpu_s: float
    finished: Finished


@click.command()
@click.option("--model", default="smollm2-135m-instruct", show_default=True, help="Installed.")
@click.option("--path", type=click.Path(path_type=Path), help="A model's folder, in its place.")
@click.option("--threads", default=2, show_default=True)
@click.option("--runs", default=3, show_default=True)
@click.option("--new-tokens", default=128, show_default=True)
@click.option("--temperature", default=0.0, show_default=True)
def speculation(
    model: str, path: Path | None, threads: int, runs: int, new_tokens: int, temperature: float
) -> None:
    """Decoding with and without speculation, interleaved. Prints JSON."""
    found = path or Catalog(Folders.standard().models).find(model).path
    runner, text = _load(found, threads)
    options = GenerateOptions(
        max_tokens=new_tokens,
        stop_ids=text.stop_ids,
        sampling=Sampling(temperature=temperature, seed=1),
        speculation=True,
    )
    rows: dict[str, Any] = {"model": found.name, "threads": threads, "temperature": temperature}
    for name, prompts in SETS.items():
        rows[name] = _measured(runner, [_ids(text, each) for each in prompts], options, runs)
    emit_json(rows)


def _load(path: Path, threads: int) -> tuple[Runner, TextModel]:
    set_openmp_here(threads)
    import torch

    from inference.decoder import load_decoder
    from inference.decoder_runner import DecoderRunner

    torch.set_num_threads(threads)
    decoder = load_decoder(path, context_tokens=CONTEXT)
    return DecoderRunner(decoder), load_text_model(path)


def _ids(text: TextModel, prompt: str) -> list[int]:
    return list(text.render([ChatMessage(role="user", text=Content(prompt))]))


def _measured(
    runner: Runner, prompts: Sequence[Sequence[int]], options: GenerateOptions, runs: int
) -> dict[str, Any]:
    for on in (True, False):  # warms, and tries whether rows are exact
        _answer(runner, prompts[0], options, on=on)
    pairs = []
    for run, prompt in itertools.product(range(runs), prompts):
        order = (True, False) if run % 2 else (False, True)
        answers = {on: _answer(runner, prompt, options, on=on) for on in order}
        pairs.append((answers[True], answers[False]))
    return _figures(pairs)


def _answer(runner: Runner, prompt: Sequence[int], options: GenerateOptions, *, on: bool) -> Timed:
    """Timed from the end of the prefill."""
    scheduler = Scheduler(runner, speculation=on)
    scheduler.submit("it", np.array(prompt, np.int32), options)
    tokens: list[int] = []
    while not tokens and not scheduler.idle:
        events = [event for _, event in scheduler.step()]
        tokens += [event.id for event in events if isinstance(event, Token)]
    wall, cpu = time.perf_counter(), time.process_time()
    while not scheduler.idle:
        events = [event for _, event in scheduler.step()]
        tokens += [event.id for event in events if isinstance(event, Token)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    last = events[-1]
    if not isinstance(last, Finished):
        raise click.ClickException("the model failed")
    return Timed(tokens=tuple(tokens), wall_s=wall, cpu_s=cpu, finished=last)


def _figures(pairs: Sequence[tuple[Timed, Timed]]) -> dict[str, Any]:
    wall = [plain.wall_s / guessed.wall_s for guessed, plain in pairs]
    cpu = [plain.cpu_s / guessed.cpu_s for guessed, plain in pairs]
    drafted = sum(guessed.finished.drafted for guessed, _ in pairs)
    accepted = sum(guessed.finished.accepted for guessed, _ in pairs)
    tokens = sum(len(guessed.tokens) for guessed, _ in pairs)
    return {
        "answers": len(pairs),
        "same_tokens": sum(guessed.tokens == plain.tokens for guessed, plain in pairs),
        "tokens": tokens,
        "drafted": drafted,
        "accepted": accepted,
        "passes_saved": round(accepted / tokens, 3),
        "speedup": round(statistics.median(wall), 3),
        "speedup_cpu": round(statistics.median(cpu), 3),
        "speedup_cpu_of_all": round(
            sum(plain.cpu_s for _, plain in pairs) / sum(guess.cpu_s for guess, _ in pairs), 3
        ),
        "worst_cpu": round(min(cpu), 3),
    }
