"""How far a text-only router could come on graded answers, by what one would have to know.

``oracle``: both grades. ``subject``: every question's subject, and each subject's gap between both
models, from as many labels as stand there; drawn to the mean gap, judged on the other rows.
``needed``: the AUROC of telling questions that only the strong model answers from all others, at
which APGR reaches the target, where those it loses rank as the average question does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.deferral import DeferralCurve
from router.evaluation import auroc
from router.results import Results

__all__ = ["ceilings", "needed_auroc", "tells_wins"]

Floats = NDArray[np.float64]

TARGET = 0.65
DRAWS = 50
STRENGTH = 10.0
"""Questions that the mean gap counts for beside a subject's own."""


def ceilings(results: Results, labels: int) -> dict[str, Any]:
    """``subject`` for ``labels`` and for half of the rows; none where there is one subject."""
    found: dict[str, Any] = {
        "oracle": round(_apgr(results.gain, results), 4),
        f"auroc_needed_for_{TARGET}": round(needed_auroc(results, TARGET), 4),
    }
    if len(set(results.subjects)) > 1:
        found["subject"] = {
            count: round(_subject_known(results, count), 4) for count in (labels, len(results) // 2)
        }
    return found


def needed_auroc(results: Results, target: float) -> float:
    """Closed form, as expected APGR is linear in it.

    With wins in a part p of the rows and losses in a part q, a win has p(1 − p)A + p²/2 of the
    rows' weight ahead of it per win, A being the AUROC; a loss stands anywhere among the rest.
    """
    won, lost = float((results.gain > 0).mean()), float((results.gain < 0).mean())
    fixed = won**2 / 2 - lost * won - lost * (1 - won) / 2
    return (target * (won - lost) - fixed) / (won * (1 - won) + won * lost)


def tells_wins(scores: Floats, results: Results) -> float:
    """AUROC of telling what only the strong model answers from all else."""
    return auroc(scores, results.gain > 0)


def _subject_known(results: Results, labels: int) -> float:
    names = np.unique(np.array(results.subjects), return_inverse=True)[1]
    count, found = int(names.max()) + 1, []
    for seed in range(DRAWS):
        mixed = np.random.default_rng(seed).permutation(len(results))
        seen, rest = mixed[:labels], mixed[labels:]
        gain = results.gain[seen]
        won = np.bincount(names[seen], gain, count) + STRENGTH * gain.mean()
        gaps = won / (np.bincount(names[seen], minlength=count) + STRENGTH)
        found.append(_apgr(gaps[names[rest]], results.rows(rest)))
    return float(np.mean(found))


def _apgr(scores: Floats, results: Results) -> float:
    return float(DeferralCurve.of(scores, results.weak, results.strong).apgr()[0])
