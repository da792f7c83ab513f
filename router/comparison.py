"""Scores questions by their text, never by an estimator that was fitted on them.

1. With training results: leave out of them every prompt that is in the test, then fit and score.
2. Without: five folds by group; each fold is scored by an estimator fitted on the others.
   A score is taken relative to what its estimator holds for usual: an estimator fitted without
   a fold full of good answers has a lower level, which would rank the fold backwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanai.errors import UsageError
from router.results import Results
from router.text_estimator import TextEstimator
from router.text_features import Texts

__all__ = ["Scored", "score_by_text"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Steps done, steps in all."""

FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores of the test rows, higher for the cloud; and what they were learned from."""

    scores: Floats
    labels: int
    """Graded questions an estimator was fitted on (of the smallest fold's complement)."""
    dropped: int
    """Training rows left out because the test holds the same prompt."""
    split: str
    groups_in_both: int
    """Groups that stand in the training rows and in the test."""


def score_by_text(
    test: Results, train: Results | None, group: str | None, progress: Progress
) -> Scored:
    """Raises ``UsageError`` where there is too little to learn from."""
    if train is None:
        return _held_out(test, group, progress)
    kept = train.without_prompts(test)
    progress(0, 1)
    estimator = TextEstimator.fit(Texts.of(kept.prompts), kept.weak, kept.strong)
    scores = estimator.benefit(Texts.of(test.prompts))
    progress(1, 1)
    both = set(test.groups(group)) & set(kept.groups(group))
    return Scored(
        scores=scores,
        labels=len(kept),
        dropped=len(train) - len(kept),
        split="training file",
        groups_in_both=len(both),
    )


def _held_out(test: Results, group: str | None, progress: Progress) -> Scored:
    folds = test.folds(group, folds=FOLDS)
    names = np.unique(folds)
    if len(names) < 2:
        raise UsageError(
            "one group cannot be split", hint="leave --group out, or give --train with other rows"
        )
    texts, copies = Texts.of(test.prompts), np.array(test.groups(None))
    scores, labels, dropped = np.zeros(len(test)), [], []
    for done, fold in enumerate(names):
        progress(done, len(names))
        mine, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        kept = others[~np.isin(copies[others], copies[mine])]
        estimator = TextEstimator.fit(texts.rows(kept), test.weak[kept], test.strong[kept])
        scores[mine] = estimator.benefit(texts.rows(mine)) - estimator.usual_benefit
        labels.append(len(kept))
        dropped.append(len(others) - len(kept))
    progress(len(names), len(names))
    return Scored(
        scores=scores,
        labels=min(labels),
        dropped=max(dropped),
        split=f"{len(names)} folds by {group or 'prompt'}",
        groups_in_both=0,
    )
