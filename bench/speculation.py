"""``lanai bench speculation``: what guessing tokens gains, and what it costs.

By prompt lookup, and with ``--draft`` by a smaller model too. Answers that copy (texts to correct,
to rewrite, to take facts from) and plain chat, each with and without guesses in turn, in this
process. The tokens must be the same. By set: the speed with them as a multiple of that without
(medians of the pairs, by the wall clock and by processor time), the same of the prompt that gains
least, passes saved, and how many guesses were right.
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
from lanai.errors import UsageError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What answers: the model, what guesses for it, and how it is asked."""

    model: Runner
    drafts: Runner | None
    options: GenerateOptions


@click.command()
@click.option("--model", default="smollm2-135m-instruct", show_default=True, help="name or folder")
@click.option("--draft", help="name or folder of a smaller model of the same tokens; default: none")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="of each prompt")
@click.option(
    "--new-tokens", type=click.IntRange(2), default=128, show_default=True, help="at most"
)
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True)
def speculation(
    model: str, draft: str | None, threads: int, runs: int, new_tokens: int, temperature: float
) -> None:
    """Answers with and without guessed tokens, in turn. Prints JSON.

    16 prompts whose answers copy and 12 of chat. same_tokens: how many answers were the same token
    for token, which must be all; speedup: medians of the pairs, by the wall clock; speedup_cpu: by
    processor time; lowest, lowest_cpu: of the prompt with the lowest median: give many --runs.
    """
    catalog = Catalog(Folders.standard().models)
    found = catalog.find(model)
    guesser = None if draft is None else catalog.find(draft)
    set_openmp_here(threads)
    runner, text = _load(found.path, threads), load_text_model(found.path)
    if guesser and not load_text_model(guesser.path).tokens.same_tokens(text.tokens):
        raise UsageError(
            f"{guesser.name} has other tokens than {found.name}",
            hint="--draft: a smaller model of the same family",
        )
    drafts = None if guesser is None else _load(guesser.path, threads)
    options = GenerateOptions(
        max_tokens=new_tokens,
        stop_ids=text.stop_ids,
        sampling=Sampling(temperature=temperature, seed=1),
        speculation=True,
    )
    pair = Pair(model=runner, drafts=drafts, options=options)
    rows: dict[str, Any] = {"model": found.name, "draft": guesser and guesser.name}
    rows |= {"threads": threads, "temperature": temperature}
    for name, prompts in SETS.items():
        rows[name] = _measured(pair, [_ids(text, each) for each in prompts], runs)
    emit_json(rows)


def _load(path: Path, threads: int) -> Runner:
    import torch

    from inference.decoder import load_decoder
    from inference.decoder_runner import DecoderRunner

    torch.set_num_threads(threads)
    return DecoderRunner(load_decoder(path, context_tokens=CONTEXT))


def _ids(text: TextModel, prompt: str) -> list[int]:
    return list(text.render([ChatMessage(role="user", text=Content(prompt))]))


def _measured(pair: Pair, prompts: Sequence[Sequence[int]], runs: int) -> dict[str, Any]:
    for on in (True, False):  # warms, and tries whether rows are exact
        _answer(pair, prompts[0], on=on)
    pairs = []
    for run, prompt in itertools.product(range(runs), prompts):
        order = (True, False) if run % 2 else (False, True)
        answers = {on: _answer(pair, prompt, on=on) for on in order}
        pairs.append((answers[True], answers[False]))
    return _figures(pairs, len(prompts))


def _answer(pair: Pair, prompt: Sequence[int], *, on: bool) -> Timed:
    """Timed from the end of the prefill; what a draft model reads of the prompt counts."""
    scheduler = Scheduler(pair.model, speculation=on, drafts=pair.drafts)
    scheduler.submit("it", np.array(prompt, np.int32), pair.options)
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


def _figures(pairs: Sequence[tuple[Timed, Timed]], prompts: int) -> dict[str, Any]:
    """``pairs``: all prompts of a run, then those of the next."""
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
        "lowest": _lowest(wall, prompts),
        "lowest_cpu": _lowest(cpu, prompts),
    }


def _lowest(ratios: Sequence[float], prompts: int) -> float:
    """Single pairs scatter by five percent: a prompt is judged by the median of its runs."""
    return round(min(statistics.median(ratios[at::prompts]) for at in range(prompts)), 3)
