"""From graded results to a bound: which rows fit the score, which rows calibrate it.

1. Score: the column confidence as it is; else P(device good) − P(cloud good) from text, fitted
   to the training file, or to every second question of the data, drawn at random.
2. Calibrate on rows the score was not fitted on, one of each prompt: copies are no new evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanai.errors import RouteError
from router.guarantee import KeepBound, bound_each, bound_regret
from router.results import Results
from router.text_estimator import TextEstimator
from router.text_features import Texts

__all__ = ["Calibrated", "calibrated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    bound: KeepBound
    score: str
    """``confidence`` (the column) or ``text``."""
    each: Mapping[str, KeepBound | RouteError]
    """By subject, where that was asked for."""


def calibrated(
    data: Results,
    train: Results | None,
    *,
    by_subject: bool,
    alpha: float,
    delta: float,
    ahead: int | None,
) -> Calibrated:
    """Raises ``RouteError`` where no bound can be given."""
    rows = data.rows(_first_of_each(data))
    if rows.confidence is not None and train is None:
        confidence, score = rows.confidence, "confidence"
    else:
        fitted, rows = _halves(rows) if train is None else (train.without_prompts(rows), rows)
        estimator = TextEstimator.fit(Texts.of(fitted.prompts), fitted.weak, fitted.strong)
        confidence, score = -estimator.benefit(Texts.of(rows.prompts)), "text"
    regret = rows.gain > 0
    each = dict[str, KeepBound | RouteError]()
    if by_subject:
        each = bound_each(confidence, regret, rows.subjects, alpha=alpha, delta=delta)
    return Calibrated(
        bound=bound_regret(confidence, regret, alpha=alpha, delta=delta, ahead=ahead),
        score=score,
        each=each,
    )


def _first_of_each(data: Results) -> NDArray[np.intp]:
    return np.sort(np.unique(np.array(data.groups(None)), return_index=True)[1])


def _halves(rows: Results) -> tuple[Results, Results]:
    mixed = np.random.default_rng(0).permutation(len(rows))
    middle = len(rows) // 2
    return rows.rows(np.sort(mixed[:middle])), rows.rows(np.sort(mixed[middle:]))
