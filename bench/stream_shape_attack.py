"""Guesses a topic from sizes and times alone, in the manner of Whisper Leak (arXiv 2511.03675).

1. A trace becomes numbers: counts, quantiles, the first sizes and gaps, and how steady the gaps are
   in each eighth of the stream (a sender's clock may shake while a model is at work beside it).
2. Two classifiers, a linear one and boosted trees, are trained and asked in turn, subjects apart
   (several ways to fold); each fold gives an area under the ROC curve, and their mean is reported.
3. Its 95% interval is that of Nadeau and Bengio (Inference for the Generalization Error, 2003): the
   folds' models share most of what they learned from, so a plain bootstrap of the scores is too
   sure of itself (on traffic with nothing in it, it missed 0.5 in five of ten cases).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Guess", "Trace", "attack", "features"]

Numbers = NDArray[np.float64]

FIRST: Final = 24
EIGHTHS: Final = 8
QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
FOLDS: Final = 6
SPLITS: Final = 3
CONFIDENCE: Final = 0.95
SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One answer as the relay saw it: bytes of each frame, and seconds since the request began."""

    sizes: tuple[int, ...]
    times: tuple[float, ...]
    group: str
    listened_for: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """How well one classifier told the topics apart: 0.5 is chance; ``low`` to ``high`` is 95%."""

    classifier: str
    auc: float
    low: float
    high: float


def attack(traces: Sequence[Trace], *, splits: int = SPLITS) -> list[Guess]:
    """Train and ask every classifier, the subjects folded in ``splits`` ways. Deterministic.

    Needs scikit-learn (extra ``bench``).
    """
    rows = np.stack([features(trace) for trace in traces])
    truth = np.array([trace.listened_for for trace in traces])
    groups = np.array([trace.group for trace in traces])
    guesses = []
    for name, model in _classifiers().items():
        found = _fold_aucs(model, rows, truth, groups, splits)
        auc, reach = float(found.mean()), _reach(found)
        guesses.append(Guess(classifier=name, auc=auc, low=auc - reach, high=auc + reach))
    return guesses


def features(trace: Trace) -> Numbers:
    """1: a trace as numbers, always as many."""
    sizes = np.array(trace.sizes, dtype=np.float64)
    times = np.array(trace.times, dtype=np.float64)
    gaps = np.diff(times, prepend=0.0)
    return np.concatenate(
        [
            [len(sizes), sizes.sum(), times[-1], times[0]],
            _summary(sizes),
            _summary(gaps),
            _first(sizes),
            _first(gaps),
            [part.std() if len(part) else 0.0 for part in np.array_split(gaps, EIGHTHS)],
        ]
    )


def _summary(values: Numbers) -> Numbers:
    return np.concatenate([[values.mean(), values.std()], np.quantile(values, QUANTILES)])


def _first(values: Numbers) -> Numbers:
    return np.pad(values[:FIRST], (0, max(0, FIRST - len(values))))


def _classifiers() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingClassifier  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    trees = GradientBoostingClassifier(
        n_estimators=80, max_depth=3, subsample=0.7, max_features="sqrt", random_state=SEED
    )
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    return {"linear": linear, "trees": trees}


def _fold_aucs(
    model: Any, rows: Numbers, truth: NDArray[np.bool_], groups: NDArray[Any], splits: int
) -> Numbers:
    """2: of each fold, asked of a model that saw nothing of its subjects."""
    from sklearn.base import clone  # type: ignore[import-untyped]
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]

    found = []
    for split in range(splits):
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED + split)
        for seen, asked in folds.split(rows, truth, groups):
            fitted = clone(model).fit(rows[seen], truth[seen])
            found.append(_auc(fitted.predict_proba(rows[asked])[:, 1], truth[asked]))
    return np.array(found)


def _reach(found: Numbers) -> float:
    """3: half the interval's width. Their equation 9, with Student's t."""
    from scipy.stats import t  # type: ignore[import-untyped]

    shared = 1 / (FOLDS - 1)
    error = np.sqrt((1 / len(found) + shared) * found.var(ddof=1))
    return float(error * t.ppf((1 + CONFIDENCE) / 2, len(found) - 1))


def _ranked(values: Numbers) -> Numbers:
    """Ranks from 1; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _auc(scores: Numbers, truth: NDArray[np.bool_]) -> float:
    """The chance that a listened-for trace scores above another (Mann and Whitney)."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    above = _ranked(scores)[truth].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))
