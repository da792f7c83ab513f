"""Signals: one number each, measured on what the device model shows of itself.

A signal returns ``None`` when the observation does not carry it (yet); it never guesses. Draft
signals are rolling and monotone: the worst window so far, so that the outcome does not depend on
how often the caller asks.
"""

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from router.facts import (
    AnswerObservation,
    DecodeObservation,
    PrefillObservation,
    RequestFacts,
)
from router.policy import Policy
from router.vocabulary import Stage

__all__ = [
    "ANSWER_SIGNALS",
    "PREFILL_SIGNALS",
    "AnswerEntropy",
    "AnswerLength",
    "AnswerMargin",
    "AnswerSurprise",
    "DraftEntropy",
    "DraftMargin",
    "DraftRepetition",
    "FirstTokenEntropy",
    "FirstTokenMargin",
    "FirstTokenSurprise",
    "PromptLength",
    "Signal",
    "draft_signals",
]

Observed = TypeVar(
    "Observed",
    PrefillObservation,
    DecodeObservation,
    AnswerObservation,
    RequestFacts,
    contravariant=True,
)

REPEATED_RUN = 3
"""Tokens in a run that counts as repeated when it stood in the draft before."""


class Signal(Protocol[Observed]):
    """One number about one observation."""

    @property
    def name(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    def measure(self, observation: Observed) -> float | None: ...


@dataclass(frozen=True, slots=True)
class FirstTokenEntropy:
    """Entropy of the first answer token's distribution, nats."""

    name: str = "first_token_entropy"
    stage: Stage = Stage.PREFILL

    def measure(self, observation: PrefillObservation) -> float | None:
        return _finite(observation.entropy)


@dataclass(frozen=True, slots=True)
class FirstTokenMargin:
    """Probability of the likeliest first token less that of the second."""

    name: str = "first_token_margin"
    stage: Stage = Stage.PREFILL

    def measure(self, observation: PrefillObservation) -> float | None:
        return _finite(observation.margin)


@dataclass(frozen=True, slots=True)
class FirstTokenSurprise:
    """−ln of the likeliest first token's probability, nats."""

    name: str = "first_token_surprise"
    stage: Stage = Stage.PREFILL

    def measure(self, observation: PrefillObservation) -> float | None:
        probability = observation.top_probability
        return -math.log(probability) if 0.0 < probability <= 1.0 else None


@dataclass(frozen=True, slots=True)
class PromptLength:
    """ln of the prompt's tokens. Alone it is the baseline that every router has to beat."""

    name: str = "prompt_length"
    stage: Stage = Stage.PREFILL

    def measure(self, observation: PrefillObservation) -> float | None:
        return math.log(observation.input_tokens) if observation.input_tokens > 0 else None


PREFILL_SIGNALS: tuple[Signal[PrefillObservation], ...] = (
    FirstTokenEntropy(),
    FirstTokenMargin(),
    FirstTokenSurprise(),
    PromptLength(),
)


@dataclass(frozen=True, slots=True)
class DraftEntropy:
    """Highest mean entropy of ``window`` tokens in a row, nats."""

    window: int
    name: str = "draft_entropy"
    stage: Stage = Stage.EARLY_DECODE

    def measure(self, observation: DecodeObservation) -> float | None:
        means = _rolling_means(observation.entropy.tolist(), self.window, observation.finished)
        return max(means, default=None)


@dataclass(frozen=True, slots=True)
class DraftMargin:
    """Lowest mean margin of ``window`` tokens in a row."""

    window: int
    name: str = "draft_margin"
    stage: Stage = Stage.EARLY_DECODE

    def measure(self, observation: DecodeObservation) -> float | None:
        means = _rolling_means(observation.margin.tolist(), self.window, observation.finished)
        return min(means, default=None)


@dataclass(frozen=True, slots=True)
class DraftRepetition:
    """Highest share, in ``window`` tokens in a row, that end a run seen earlier in the draft."""

    window: int
    name: str = "draft_repetition"
    stage: Stage = Stage.EARLY_DECODE

    def measure(self, observation: DecodeObservation) -> float | None:
        if not observation.finished and len(observation.ids) < self.window:
            return None
        repeated = _ends_repeated_run(observation.ids.tolist())
        return max(_rolling_means(repeated, self.window, observation.finished), default=None)


@dataclass(frozen=True, slots=True)
class AnswerSurprise:
    """Mean −ln of the likeliest token's probability over the whole answer, nats."""

    name: str = "answer_surprise"
    stage: Stage = Stage.AFTER_ANSWER

    def measure(self, observation: AnswerObservation) -> float | None:
        chances = observation.top_probability
        if not len(chances) or not bool(((chances > 0) & (chances <= 1)).all()):
            return None
        return _finite(float(-np.log(chances).mean()))


@dataclass(frozen=True, slots=True)
class AnswerEntropy:
    """Mean entropy over the whole answer, nats."""

    name: str = "answer_entropy"
    stage: Stage = Stage.AFTER_ANSWER

    def measure(self, observation: AnswerObservation) -> float | None:
        entropy = observation.entropy
        return _finite(float(entropy.mean())) if len(entropy) else None


@dataclass(frozen=True, slots=True)
class AnswerMargin:
    """The lower decile of the margins of the whole answer: its least certain places."""

    name: str = "answer_margin"
    stage: Stage = Stage.AFTER_ANSWER

    def measure(self, observation: AnswerObservation) -> float | None:
        margin = observation.margin
        if not len(margin) or not np.isfinite(margin).all():
            return None
        return float(np.quantile(margin, 0.1))


@dataclass(frozen=True, slots=True)
class AnswerLength:
    """ln of one more than the answer's tokens."""

    name: str = "answer_length"
    stage: Stage = Stage.AFTER_ANSWER

    def measure(self, observation: AnswerObservation) -> float | None:
        return math.log1p(len(observation.entropy))


ANSWER_SIGNALS: tuple[Signal[AnswerObservation], ...] = (
    AnswerSurprise(),
    AnswerEntropy(),
    AnswerMargin(),
    AnswerLength(),
)


def draft_signals(policy: Policy) -> tuple[Signal[DecodeObservation], ...]:
    """The draft signals, rolling over the policy's window."""
    window = policy.early_decode_window
    return (DraftEntropy(window), DraftMargin(window), DraftRepetition(window))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _rolling_means(values: list[float], window: int, finished: bool) -> list[float]:
    """Means of each full window; of all there is when a finished draft is shorter; else empty.

    Empty, too, where a value is no number: the signal is then missing. In plain Python: a draft is
    a few dozen tokens, and is looked at anew with each.
    """
    if finished and 0 < len(values) < window:
        window = len(values)
    if not 0 < window <= len(values):
        return []
    total = sum(values[:window])
    means = [total / window]
    for new, old in zip(values[window:], values, strict=False):
        total += new - old
        means.append(total / window)
    return means if math.isfinite(total) else []  # what is not finite once stays so in the sum


def _ends_repeated_run(ids: list[int]) -> list[float]:
    """1.0 where the run of ``REPEATED_RUN`` tokens that ends here stood earlier, else 0.0."""
    seen: set[tuple[int, ...]] = set()
    flags = [0.0] * min(REPEATED_RUN - 1, len(ids))
    for run in zip(*(ids[start:] for start in range(REPEATED_RUN)), strict=False):
        flags.append(float(run in seen))
        seen.add(run)
    return flags
