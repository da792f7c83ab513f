"""What a router is worth: ranking, gain over doing without, and how sure that is.

Every figure has an interval from a bootstrap over groups, and stands beside what costs nothing:
sending the same share of requests at random.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Figure",
    "Outcomes",
    "Predicted",
    "auroc",
    "auroc_within",
    "bootstrap",
    "gain_over_random",
    "pick_auroc",
    "routed",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value and its interval (95%, percentile bootstrap over groups)."""

    value: float
    low: float
    high: float

    def to_json_dict(self) -> dict[str, float | list[float]]:
        return {"value": round(self.value, 4), "ci": [round(self.low, 4), round(self.high, 4)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Each question's result on both sides; shapes (questions,)."""

    device_good: Flags
    cloud_good: Flags
    groups: Sequence[str]

    @property
    def oracle(self) -> float:
        """Share of questions that at least one side gets right."""
        return float((self.device_good | self.cloud_good).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Benefit predicted for questions that the heads of their fold were not fitted on."""

    benefit: Floats
    folds: Rows


def auroc(scores: Floats, labels: Flags) -> float:
    """P(a random positive scores above a random negative), ties half; NaN without both classes."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = float(ranks[labels].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def auroc_within(scores: Floats, labels: Flags, folds: Rows) -> float:
    """AUROC over pairs of one fold only.

    Scores of different folds come from differently fitted heads. Comparing across them is biased
    downwards when signals say little, since a head fitted without a fold leans away from it.
    """
    above = pairs = 0.0
    for fold in np.unique(folds):
        mine = folds == fold
        count = float(labels[mine].sum()) * float((~labels[mine]).sum())
        if count:
            above += count * auroc(scores[mine], labels[mine])
            pairs += count
    return above / pairs if pairs else float("nan")


def pick_auroc(predicted: Predicted, outcomes: Outcomes, rows: Rows) -> float:
    """AUROC of the predicted benefit where the sides differ: does it pick the better one?"""
    device, cloud = outcomes.device_good[rows], outcomes.cloud_good[rows]
    differ = rows[device != cloud]
    return auroc_within(
        predicted.benefit[differ], outcomes.cloud_good[differ], predicted.folds[differ]
    )


def routed(benefit: Floats, above: float, outcomes: Outcomes, rows: Rows) -> float:
    """Accuracy when the cloud answers where the predicted benefit is above ``above``."""
    away = benefit[rows] > above
    return float(np.where(away, outcomes.cloud_good[rows], outcomes.device_good[rows]).mean())


def gain_over_random(predicted: Predicted, above: float, outcomes: Outcomes, rows: Rows) -> float:
    """``routed`` less the expected accuracy of sending the same share of each fold at random."""
    gain = 0.0
    for fold in np.unique(predicted.folds[rows]):
        mine = rows[predicted.folds[rows] == fold]
        share = float((predicted.benefit[mine] > above).mean())
        device = float(outcomes.device_good[mine].mean())
        cloud = float(outcomes.cloud_good[mine].mean())
        random = device + share * (cloud - device)
        gain += len(mine) * (routed(predicted.benefit, above, outcomes, mine) - random)
    return gain / len(rows)


def bootstrap(
    statistic: Callable[[Rows], float], groups: Sequence[str], *, seed: int = 0
) -> Figure:
    """``statistic`` of all rows, with an interval from resampling whole groups."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    blocks = [np.array(rows, dtype=np.intp) for rows in members.values()]
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(blocks), size=(RESAMPLES, len(blocks)))
    values = [statistic(np.concatenate([blocks[i] for i in draw])) for draw in draws]
    low = high = float("nan")
    if not np.isnan(values).all():
        low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    everything = np.arange(len(groups), dtype=np.intp)
    return Figure(value=statistic(everything), low=float(low), high=float(high))
