"""A threshold whose regret is bounded with confidence, not only on average.

A request's regret is 1 when it is kept on the device, the device's answer is wrong and the cloud's
would have been right. Keeping more never lowers the sum, so the argument of risk-controlling
prediction sets holds (Bates et al. 2021, arXiv:2101.02703): of all thresholds whose upper bound is
at most α, take the one that keeps most. Two bounds hold together with confidence 1 − δ, half of δ
for each:

    1. In the long run: Clopper–Pearson's bound of the rate.
    2. Over the next requests, as many as are named: what is seen there scatters too, so that the
       bound of the rate alone is passed more often than δ. Among the most confident regrets of both
       samples together, which belong to the next is a hypergeometric draw; so this one is exact.

Both are for requests drawn like the calibration rows. They promise nothing for others (see
``router.drift``), and they are about all requests, not about those of one category.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanai.errors import RouteError, UsageError
from router.strict import Fields

__all__ = [
    "KeepBound",
    "allowed_losses",
    "bound_each",
    "bound_regret",
    "conformal_losses",
    "keep_most",
    "upper_bound",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBound:
    """Keep a request on the device where its confidence is at least ``threshold``."""

    alpha: float
    delta: float
    threshold: float
    kept: float
    """Share of the calibration rows that are kept."""
    losses: int
    questions: int
    ahead: int
    """Requests the second bound is about."""
    regret_bound: float
    """Regret per request, in the long run and over the next ``ahead``: not above this."""

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha,
            "delta": self.delta,
            "threshold": self.threshold,
            "kept": round(self.kept, 4),
            "losses": self.losses,
            "questions": self.questions,
            "requests": self.ahead,
            "regret_bound": round(self.regret_bound, 6),
        }

    @classmethod
    def read(cls, fields: Fields) -> "KeepBound":
        """The inverse. Raises ``Malformed``."""
        bound = cls(
            alpha=fields.number("alpha"),
            delta=fields.number("delta"),
            threshold=fields.number("threshold"),
            kept=fields.number("kept"),
            losses=fields.integer("losses"),
            questions=fields.integer("questions"),
            ahead=fields.integer("requests"),
            regret_bound=fields.number("regret_bound"),
        )
        fields.done()
        return bound


def bound_regret(
    confidence: Floats, regret: Flags, *, alpha: float, delta: float, ahead: int | None = None
) -> KeepBound:
    """Shapes (questions,), rows independent of each other; ``ahead`` is as many where not named.

    Raises ``RouteError`` where these rows cannot give a bound, ``UsageError`` for α or δ outside
    (0, 1).
    """
    if not (0 < alpha < 1 and 0 < delta < 1):
        raise UsageError("alpha and delta must be between 0 and 1")
    count = len(confidence)
    ahead = ahead or count
    allowed = allowed_losses(count, ahead, alpha=alpha, delta=delta)
    if allowed is None:
        raise RouteError(
            f"{count} graded questions cannot bound a regret of {alpha:g}",
            hint="give more of them, or allow a larger alpha or delta",
        )
    threshold = keep_most(confidence, regret, allowed)
    if threshold is None:
        raise RouteError(
            f"no threshold keeps regret under {alpha:g}: the most confident are wrong too often",
            hint="allow a larger alpha, or use signals that tell more",
        )
    kept = confidence >= threshold
    losses = int(regret[kept].sum())
    return KeepBound(
        alpha=alpha,
        delta=delta,
        threshold=threshold,
        kept=float(kept.mean()),
        losses=losses,
        questions=count,
        ahead=ahead,
        regret_bound=max(
            upper_bound(losses, count, delta / 2),
            _most_ahead(losses, count, ahead, delta / 2) / ahead,
        ),
    )


def bound_each(
    confidence: Floats, regret: Flags, categories: Sequence[str], *, alpha: float, delta: float
) -> dict[str, KeepBound | RouteError]:
    """A bound for every category, all of them together at confidence 1 − δ (Bonferroni).

    A category whose rows cannot give one has the refusal in its place.
    """
    names, found = np.array(categories), dict[str, KeepBound | RouteError]()
    each = delta / len(set(categories))
    for name in sorted(set(categories)):
        mine = names == name
        try:
            found[name] = bound_regret(confidence[mine], regret[mine], alpha=alpha, delta=each)
        except RouteError as error:
            found[name] = error
    return found


def keep_most(confidence: Floats, regret: Flags, allowed: int) -> float | None:
    """The lowest confidence that keeps at most ``allowed`` regrets; ``None``: not even the top.

    Rows of equal confidence are kept or sent together.
    """
    order = np.argsort(-confidence, kind="stable")
    falling, losses = confidence[order], np.cumsum(regret[order])
    ends = np.flatnonzero(np.r_[falling[1:] != falling[:-1], True])
    fit = ends[losses[ends] <= allowed]
    return float(falling[fit[-1]]) if len(fit) else None


def allowed_losses(count: int, ahead: int, *, alpha: float, delta: float) -> int | None:
    """Most losses in ``count`` rows for which both bounds are at most α; ``None``: not even none.

    The rate's bound of k losses is at most α where P(Binomial(count, α) ≤ k) is at most δ / 2.
    """
    within = np.flatnonzero(_binomial(count, alpha).cumsum() <= delta / 2)
    too_many = math.floor(alpha * ahead + 1e-9) + 1
    for losses in within[::-1].tolist():
        if _passes(losses, too_many, count, ahead) <= delta / 2:
            return int(losses)
    return None


def conformal_losses(count: int, *, alpha: float) -> int:
    """The same for conformal risk control, which bounds the mean over calibrations only.

    (k + 1) / (count + 1) ≤ α, Angelopoulos et al. 2022 (arXiv:2208.02814); below 0: none allowed.
    Kept for comparison: a single calibration exceeds α nearly every second time.
    """
    return math.floor(alpha * (count + 1) - 1 + 1e-9)


def upper_bound(losses: int, count: int, delta: float) -> float:
    """Clopper–Pearson: the largest rate at which so few losses have probability δ at least."""
    if losses >= count:
        return 1.0
    low, high = losses / count, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if float(_binomial(count, middle)[: losses + 1].sum()) > delta:
            low = middle
        else:
            high = middle
    return high


def _most_ahead(losses: int, count: int, ahead: int, delta: float) -> int:
    """Losses among the next ``ahead`` that are not passed with confidence 1 − δ."""
    low, high = losses * ahead // count, ahead
    while low < high:
        middle = (low + high) // 2
        if _passes(losses, middle + 1, count, ahead) <= delta:
            high = middle
        else:
            low = middle + 1
    return high


def _passes(losses: int, too_many: int, count: int, ahead: int) -> float:
    """P(``too_many`` losses fall into the next rows before ``losses`` + 1 into the calibration's).

    Of the first losses + too_many regrets, at least too_many would lie ahead. With fewer regrets in
    all the chance is smaller still.
    """
    drawn, ends = losses + too_many, min(losses + too_many, ahead)
    if too_many > ahead:
        return 0.0
    hits = range(max(too_many, drawn - count), ends + 1)
    whole = _log_choose(count + ahead, drawn) if drawn <= count + ahead else 0.0
    return math.fsum(
        math.exp(_log_choose(ahead, hit) + _log_choose(count, drawn - hit) - whole) for hit in hits
    )


def _log_choose(count: int, drawn: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(drawn + 1) - math.lgamma(count - drawn + 1)


def _binomial(count: int, rate: float) -> Floats:
    """P(k) for k = 0 … count; 0 < rate < 1."""
    if count == 0:
        return np.ones(1)
    if rate <= 0 or rate >= 1:
        return np.asarray(np.eye(count + 1)[0 if rate <= 0 else count], dtype=np.float64)
    steps = np.arange(1, count + 1)
    choices = np.r_[0.0, np.cumsum(np.log(count - steps + 1) - np.log(steps))]
    hits = np.arange(count + 1)
    logs = choices + hits * math.log(rate) + (count - hits) * math.log1p(-rate)
    return np.asarray(np.exp(logs), dtype=np.float64)
