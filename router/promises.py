"""What a fit may promise: bounds of regret, scores that tell drift, APGR beside its baselines.

All from held-out chances: no row is judged by heads that saw it. The promise is about the heads
that are kept, which saw a fifth more questions than those it was measured with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanai.errors import RouteError
from router.bounds import Bounds
from router.evaluation import Outcomes
from router.guarantee import KeepBound, bound_each, bound_regret
from router.worth import FIGURES, Rankings, judge_grades, shown

__all__ = ["bounds_of", "reference_of", "worth_beside"]

Floats = NDArray[np.float64]

ALPHAS = (0.02, 0.05, 0.1, 0.2)
DELTA = 0.1
REFERENCE = 400
"""Scores kept at most; quantiles, where there are more."""


def bounds_of(score: Floats, out: Outcomes, categories: Sequence[str]) -> Bounds:
    """For each α; all of them together at confidence 1 − δ, those by category too.

    ``score`` is P(device good) − P(cloud good). Half of δ is for the whole, half for categories.
    Where the rows cannot give a bound there is none.
    """
    regret, share = out.cloud_good & ~out.device_good, DELTA / 2 / len(ALPHAS)
    overall, named = list[KeepBound](), dict[str, list[KeepBound]]()
    for alpha in ALPHAS:
        try:
            overall.append(_claimed(bound_regret(score, regret, alpha=alpha, delta=share)))
        except RouteError:
            continue
    for alpha in ALPHAS if len(set(categories)) > 1 else ():
        found = bound_each(score, regret, categories, alpha=alpha, delta=share)
        for name, bound in found.items():
            if name and isinstance(bound, KeepBound):
                named.setdefault(name, []).append(_claimed(bound))
    return Bounds(overall=overall, by_category=named)


def reference_of(score: Floats) -> tuple[float, ...]:
    """In rising order."""
    kept = np.sort(score)
    if len(kept) > REFERENCE:
        kept = np.quantile(kept, np.linspace(0, 1, REFERENCE))
    return tuple(round(float(value), 6) for value in kept)


def worth_beside(
    rankings: Rankings, length: Floats | None, out: Outcomes, folds: NDArray[np.intp]
) -> dict[str, Any]:
    """APGR, CPT and AIQ of each ranking (higher is sent first), of length, chance and the oracle.

    Scores are compared as ranks within their fold: heads of different folds differ in level.
    """
    device, cloud = out.device_good.astype(np.float64), out.cloud_good.astype(np.float64)
    compared = {name: _within(scores, folds) for name, scores in rankings.items()}
    if length is not None:
        compared["length"] = np.nan_to_num(length)
    compared |= {"random": np.zeros(len(folds)), "oracle": cloud - device}
    judged = judge_grades(compared, device, cloud, out.groups)
    return {
        name: {figure: shown(each.figure(figure)) for figure in FIGURES}
        for name, each in judged.items()
    }


def _claimed(bound: KeepBound) -> KeepBound:
    """The confidence is that of all bounds together."""
    values: Mapping[str, Any] = {
        name: getattr(bound, name)
        for name in ("alpha", "threshold", "kept", "losses", "questions", "ahead", "regret_bound")
    }
    return KeepBound(delta=DELTA, **values)


def _within(scores: Floats, folds: NDArray[np.intp]) -> Floats:
    ranks = np.zeros(len(scores))
    for fold in np.unique(folds):
        mine = folds == fold
        places = np.unique(scores[mine], return_inverse=True)[1].astype(np.float64)
        ranks[mine] = places / max(float(places.max()), 1.0)
    return ranks
