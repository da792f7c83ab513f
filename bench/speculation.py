"""``lanai bench speculation``: what guessing tokens gains, and what it costs.

By prompt lookup, and with ``--draft`` by a smaller model too. Answers that copy (texts to correct,
to rewrite, to take facts from) and plain chat, each with and without guesses side by side, in this
process. The tokens must be the same. By set: the speed with them as a multiple of that without
(medians of the pairs, by the wall clock and by processor time), the same of the prompt that gains
least, passes saved, and how many guesses were right. A second answer without guesses is the
control: what its figures are away from 1 is this machine's scatter.
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
from inference.scheduler import RequestFailed, Scheduler
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.cli.output import emit_json
from lanai.content import Content
from lanai.errors import UsageError
from lanai.folders import Folders

__all__ = ["speculation"]

CONTEXT: Final = 1024
IN_TURN: Final = 8
"""Tokens of an answer before it is another's turn."""
SETS: Final[Mapping[str, Sequence[str]]] = {"copying": COPYING, "chat": CHAT}


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
    """Answers with and without guessed tokens, side by side. Prints JSON.

    16 prompts whose answers copy and 12 of chat. same_tokens: how many answers were the same token
    for token, which must be all; speedup: medians of the pairs, by the wall clock; speedup_cpu: by
    processor time; lowest, lowest_cpu: of the prompt with the lowest median: give many --runs.
    control: the same of answers without guesses against answers without: 1, but for scatter.
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
    _side_by_side(pair, prompts[0])  # warms, and tries whether rows are exact
    found = [
        _side_by_side(pair, prompt, turn=run)
        for run, prompt in itertools.product(range(runs), prompts)
    ]
    return _figures(found, len(prompts))


class Answer:
    """One answer, timed from the end of its prefill; what a draft model reads counts."""

    def __init__(self, pair: Pair, prompt: Sequence[int], *, guesses: bool) -> None:
        self._scheduler = Scheduler(pair.model, speculation=guesses, drafts=pair.drafts)
        self._scheduler.submit("it", np.array(prompt, np.int32), pair.options)
        self.tokens: list[int] = []
        self.finished: Finished | None = None
        self._go_on_to(1)
        self.wall_s = self.cpu_s = 1e-9  # not 0: an answer may end with its first token

    def go_on(self) -> None:
        """A few tokens more, timed."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._go_on_to(len(self.tokens) + IN_TURN)
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu

    def _go_on_to(self, tokens: int) -> None:
        while len(self.tokens) < tokens and not self._scheduler.idle:
            for _, event in self._scheduler.step():
                if isinstance(event, Token):
                    self.tokens.append(event.id)
                elif isinstance(event, Finished):
                    self.finished = event
                elif isinstance(event, RequestFailed):
                    raise click.ClickException("the model failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Three:
    """Of one prompt. No ``repr`` of tokens is ever printed: the texts are the bench's own."""

    guessed: Answer
    plain: Answer
    control: Answer


def _side_by_side(pair: Pair, prompt: Sequence[int], *, turn: int = 0) -> Three:
    """With guesses, without, and without again: a few tokens of each in turn.

    A machine's pace drifts by several percent within an answer's time: whole answers one after the
    other scatter twice as much.
    """
    three = [Answer(pair, prompt, guesses=guesses) for guesses in (True, False, False)]
    order = three[turn % 3 :] + three[: turn % 3]
    if turn % 2:  # each follows either of the others equally often
        order.reverse()
    while not all(each.finished for each in order):
        for each in order:
            if not each.finished:
                each.go_on()
    return Three(guessed=three[0], plain=three[1], control=three[2])


def _figures(found: Sequence[Three], prompts: int) -> dict[str, Any]:
    """``found``: all prompts of a run, then those of the next."""
    ended = [each.guessed.finished for each in found if each.guessed.finished]
    drafted = sum(each.drafted for each in ended)
    accepted = sum(each.accepted for each in ended)
    tokens = sum(len(each.guessed.tokens) for each in found)
    return {
        "answers": len(found),
        "same_tokens": sum(each.guessed.tokens == each.plain.tokens for each in found),
        "tokens": tokens,
        "drafted": drafted,
        "accepted": accepted,
        "passes_saved": round(accepted / tokens, 3),
        **_ratios([(each.plain, each.guessed) for each in found], prompts),
        "control": _ratios([(each.plain, each.control) for each in found], prompts),
    }


def _ratios(pairs: Sequence[tuple[Answer, Answer]], prompts: int) -> dict[str, float]:
    """How many times as fast the second of each pair was."""
    wall = [one.wall_s / other.wall_s for one, other in pairs]
    cpu = [one.cpu_s / other.cpu_s for one, other in pairs]
    of_all = sum(one.cpu_s for one, _ in pairs) / sum(other.cpu_s for _, other in pairs)
    found = {
        "speedup": statistics.median(wall),
        "speedup_cpu": statistics.median(cpu),
        "speedup_cpu_of_all": of_all,
        "lowest": _lowest(wall, prompts),
        "lowest_cpu": _lowest(cpu, prompts),
    }
    return {name: round(value, 3) for name, value in found.items()}


def _lowest(ratios: Sequence[float], prompts: int) -> float:
    """Single pairs scatter by three percent: a prompt is judged by the median of its runs."""
    return min(statistics.median(ratios[at::prompts]) for at in range(prompts))
