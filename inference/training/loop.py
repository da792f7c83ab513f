"""The training loop.

Plan of ``train``:
    1. some examples are held out
    2. a step: slopes of a batch, clipped, AdamW (Loshchilov & Hutter 2019); the rate warms up and
       then falls along a cosine, over the steps or the minutes that are allowed
    3. now and then: the loss on the held-out examples; the best parameters are kept
    4. the end: steps or minutes are over, or the held-out loss has not fallen for a while
    5. the best parameters are put back
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from inference.training.decoder import TrainableDecoder
from inference.training.examples import Batch, Example, batches, split
from inference.training.losses import AnswerLoss, Loss, Measured
from inference.training.low_rank import LowRankChanges
from lanai.errors import UsageError

__all__ = ["Point", "Trained", "TrainingSettings", "train"]

BETAS: Final = (0.9, 0.95)
NO_CHANGE: Final = 1e-4  # a held-out loss has fallen when it fell by more than this share


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """``steps`` or ``minutes`` bound the training, whichever is over first; one must be given.
    0 measures only.

    ``patience``: evaluations without a better held-out loss before it stops. ``tokens``: of a
    batch. ``final_rate``: what is left of ``rate`` at the end. ``epsilon``: of AdamW.
    """

    rank: int = 16
    alpha: float | None = None
    rate: float = 1e-3
    final_rate: float = 0.05
    warmup_steps: int = 10
    steps: int | None = None
    minutes: float | None = None
    tokens: int = 2048
    clip: float = 1.0
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    held_out: float = 0.05
    evaluate_every: int = 25
    patience: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.steps, self.minutes) if bound is not None]
        if not bounds or min(bounds) < 0:
            raise UsageError("training needs a bound: a number of steps or minutes")
        positive = (self.rate, self.clip, self.tokens, self.evaluate_every, self.patience)
        if min(positive) <= 0 or not 0 < self.held_out < 1 or not 0 <= self.final_rate <= 1:
            raise UsageError("a setting of the training is out of its range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Of the learning curve: ``loss`` of the batch, ``held_out`` where it was measured, in nats."""

    step: int
    seconds: float
    tokens: int
    loss: float | None
    held_out: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Trained:
    """``changes`` are those of ``best``; ``before`` is the point of no training at all."""

    changes: LowRankChanges
    before: Point
    best: Point
    curve: tuple[Point, ...]
    stopped_early: bool


Progress = Callable[[Point], None]


def train(
    base: TrainableDecoder,
    examples: Sequence[Example],
    settings: TrainingSettings,
    *,
    held_out: Sequence[Example] = (),
    loss: Loss | None = None,
    changes: LowRankChanges | None = None,
    on_progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train low-rank changes of ``base``; ``loss`` ``None`` is cross-entropy of marked tokens.

    ``held_out``: examples to judge by, in the place of a share of ``examples``.
    ``changes`` are where training begins, ``None`` means none. Same seed and same bounds in steps:
    same result on one machine. Raises ``UsageError`` when there are too few examples.
    """
    random = torch.Generator().manual_seed(settings.seed)
    if held_out:  # 1
        learn, held = (
            list(range(len(examples))),
            list(range(len(examples), len(examples) + len(held_out))),
        )
        examples = [*examples, *held_out]
    else:
        learn, held = split(len(examples), settings.held_out, random)
    if changes is None:
        changes = LowRankChanges(
            base.config, rank=settings.rank, alpha=settings.alpha, seed=settings.seed
        )
    run = _Run(base, changes, loss or AnswerLoss(), settings, clock, on_progress)
    exam = _all(examples, held, settings.tokens)
    best = before = run.evaluate(exam)
    kept, misses = changes.snapshot(), 0
    unseen = _endless(examples, learn, settings.tokens, random)
    while run.progress() < 1 and misses < settings.patience:  # 4
        run.step(next(unseen))  # 2
        if run.steps % settings.evaluate_every and run.progress() < 1:
            continue
        point = run.evaluate(exam)  # 3
        if _held(point) < _held(best) * (1 - NO_CHANGE):
            best, kept, misses = point, changes.snapshot(), 0
        else:
            misses += 1
    changes.restore(kept)  # 5
    return Trained(
        changes=changes,
        before=before,
        best=best,
        curve=tuple(run.curve),
        stopped_early=misses >= settings.patience,
    )


class _Run:
    """A training under way: its optimizer, its clock, its curve."""

    def __init__(
        self,
        base: TrainableDecoder,
        changes: LowRankChanges,
        loss: Loss,
        settings: TrainingSettings,
        clock: Callable[[], float],
        on_progress: Progress | None,
    ) -> None:
        self._base, self._changes, self._loss = base, changes, loss
        self._settings, self._clock, self._on_progress = settings, clock, on_progress
        self._parameters: list[Tensor] = changes.parameters()
        self._optimizer = torch.optim.AdamW(
            changes.groups(settings.rate),
            betas=BETAS,
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._began = clock()
        self.steps = self.tokens = 0
        self.curve: list[Point] = []

    def step(self, batch: Batch) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        measured = self._loss(self._base, self._changes, batch, backward=True)
        torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._share()
        self._optimizer.step()
        self.steps += 1
        self.tokens += batch.tokens
        self._note(loss=measured.mean)

    def evaluate(self, exam: Sequence[Batch]) -> Point:
        parts = [self._loss(self._base, self._changes, batch, backward=False) for batch in exam]
        whole = Measured(
            total=sum(part.total for part in parts), rows=sum(part.rows for part in parts)
        )
        return self._note(held_out=whole.mean)

    def progress(self) -> float:
        """From 0 to 1, of steps or minutes, whichever is nearer its end."""
        steps, minutes = self._settings.steps, self._settings.minutes
        shares = []
        if steps is not None:
            shares.append(self.steps / steps if steps else 1.0)
        if minutes is not None:
            spent = (self._clock() - self._began) / 60
            shares.append(spent / minutes if minutes else 1.0)
        return min(1.0, max(shares))

    def _share(self) -> float:
        """Of the rates, by now."""
        warm = min(1.0, (self.steps + 1) / max(self._settings.warmup_steps, 1))
        left = self._settings.final_rate
        fallen = left + (1 - left) * (1 + math.cos(math.pi * self.progress())) / 2
        return warm * fallen

    def _note(self, *, loss: float | None = None, held_out: float | None = None) -> Point:
        point = Point(
            step=self.steps,
            seconds=self._clock() - self._began,
            tokens=self.tokens,
            loss=loss,
            held_out=held_out,
        )
        self.curve.append(point)
        if self._on_progress is not None:
            self._on_progress(point)
        return point


def _held(point: Point) -> float:
    return math.inf if point.held_out is None else point.held_out


def _endless(
    examples: Sequence[Example], keys: Sequence[int], tokens: int, random: torch.Generator
) -> Iterator[Batch]:
    while True:
        yield from batches(examples, keys, tokens, random)


def _all(examples: Sequence[Example], keys: Sequence[int], tokens: int) -> list[Batch]:
    return list(batches(examples, keys, tokens, torch.Generator().manual_seed(0)))
