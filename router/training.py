"""Fits an estimator to a pair's own graded answers, and says what each signal is worth.

Every figure is on questions the heads and probes were not fitted on; a group is never split.
`predictive` is claimed only where three lower bounds (95%) hold at once, on held-out questions:

    1. routing gains over sending the same share at random;
    2. routing gains over the device alone;
    3. with each category left out in turn, the predicted benefit still picks the better side
       (by group where there is one category).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanai.errors import UsageError
from router.estimator import AfterAnswer
from router.evaluation import (
    Outcomes,
    Predicted,
    auroc_within,
    bootstrap,
    gain_over_random,
    pick_auroc,
    routed,
)
from router.held_out import (
    FAMILIES,
    Folds,
    HeldOut,
    Labelled,
    columns_of,
    cross_fitted,
    families_of,
    fitted_head,
    priors_of,
    probes_of,
)
from router.isotonic import CalibrationKey, IsotonicMap
from router.logistic import LogisticEstimator
from router.pair import MeasuredPair
from router.promises import bounds_of, reference_of, worth_beside

__all__ = ["FAMILIES", "HeldOut", "Labelled", "train", "worth_of"]

Floats = NDArray[np.float64]

FEWEST = 20
AT_PREFILL = ("hidden_state", "first_token", "prompt", "category")
"""What a running router has before the first token, a category where the app named one."""
AFTER_ANSWER = (*AT_PREFILL, "early_decode", "answer")
"""What it has when the whole answer is there and nobody has seen it."""


def worth_of(held: HeldOut, families: Sequence[str]) -> dict[str, Any]:
    """Held-out AUROC of both heads and of picking the better side, from these signals."""
    out, folds = held.labelled.outcomes, held.folds
    device, cloud = held.chances(families)
    benefit = Predicted(benefit=cloud - device, folds=folds)
    everything = np.arange(len(folds))
    return {
        "device_good": _known(auroc_within(device, out.device_good, folds)),
        "cloud_good": _known(auroc_within(cloud, out.cloud_good, folds)),
        "pick": _known(pick_auroc(benefit, out, everything)),
    }


def ablation(held: HeldOut, progress: Callable[[int, int], None]) -> dict[str, dict[str, Any]]:
    """Each family alone, all, and all but one."""
    known = families_of(held.labelled, tuple(FAMILIES))
    sets = {f"only {name}": [name] for name in known} | {"all": known}
    sets |= {f"all but {name}": [other for other in known if other != name] for name in known}
    table = {}
    for done, (name, families) in enumerate(sets.items()):
        progress(done, len(sets))
        table[name] = worth_of(held, families)
    return table


def train(
    labelled: Labelled,
    pair: MeasuredPair,
    *,
    quantization: str,
    price: float,
    provenance: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[LogisticEstimator, dict[str, Any]]:
    """The estimator and its figures. Raises ``UsageError`` for too few questions."""
    out = labelled.outcomes
    if len(set(out.groups)) < FEWEST:
        raise UsageError(f"needs at least {FEWEST} questions", hint="some hundred are better")
    families = families_of(labelled, AT_PREFILL)
    later = families_of(labelled, AFTER_ANSWER)
    held, away = HeldOut(labelled, labelled.folds), HeldOut(labelled, _away(labelled))
    early = held.chances(families)
    figures: dict[str, Any] = {
        "labels": len(labelled.categories),
        "accuracy": {
            "device": round(float(out.device_good.mean()), 4),
            "cloud": round(float(out.cloud_good.mean()), 4),
            "oracle": round(out.oracle, 4),
        },
        "auroc": worth_of(held, families),
        "gates": _gates(held, away, families, price),
        "gates_after_answer": _gates(held, away, later, price),
        "worth": _worth(held, early, held.chances(later)),
        "ablation": ablation(held, progress),
    }
    for name, gates in (("predictive", "gates"), ("predictive_after", "gates_after_answer")):
        figures[name] = all(gate["held"] for gate in figures[gates].values())
    score, crossed = early[0] - early[1], cross_fitted(labelled)
    columns = columns_of(labelled, families, crossed)
    whole = columns_of(labelled, later, crossed)
    estimator = LogisticEstimator(
        pair=pair,
        predictive=bool(figures["predictive"]),
        device_head=fitted_head(columns, out.device_good, out.groups),
        cloud_head=fitted_head(columns, out.cloud_good, out.groups),
        alone={},
        isotonic=_maps(columns, out, pair.device.weights_sha256, quantization),
        probes=probes_of(labelled),
        categories=priors_of(labelled),
        after_answer=AfterAnswer(
            predictive=bool(figures["predictive_after"]),
            device_head=fitted_head(whole, out.device_good, out.groups),
            cloud_head=fitted_head(whole, out.cloud_good, out.groups),
        ),
        bounds=bounds_of(score, out, labelled.categories),
        reference=reference_of(score),
        measurement={**provenance, **figures, "price": price},
    )
    return estimator, figures


def _worth(
    held: HeldOut, early: tuple[Floats, Floats], late: tuple[Floats, Floats]
) -> dict[str, Any]:
    """APGR without and with the answer's own confidence, beside length, chance and the oracle."""
    rankings = {"at_prefill": early[1] - early[0], "with_answer": late[1] - late[0]}
    length = held.labelled.columns.get("prompt_length")
    return worth_beside(rankings, length, held.labelled.outcomes, held.folds)


def _away(labelled: Labelled) -> Folds:
    """One fold a category; by group where there is one category."""
    if len(set(labelled.categories)) < 2:
        return labelled.folds
    return np.unique(np.array(labelled.categories), return_inverse=True)[1]


def _gates(held: HeldOut, away: HeldOut, families: Sequence[str], price: float) -> dict[str, Any]:
    out = held.labelled.outcomes
    device, cloud = held.chances(families)
    here = Predicted(benefit=cloud - device, folds=held.folds)
    device, cloud = away.chances(families)
    elsewhere = Predicted(benefit=cloud - device, folds=away.folds)
    asked = {
        "gain_over_random": (lambda r: gain_over_random(here, price, out, r), 0.0),
        "gain_over_device": (
            lambda r: routed(here.benefit, price, out, r) - float(out.device_good[r].mean()),
            0.0,
        ),
        "pick_auroc_left_out": (lambda r: pick_auroc(elsewhere, out, r), 0.5),
    }
    gates = {}
    for name, (statistic, bound) in asked.items():
        figure = bootstrap(statistic, out.groups)
        values = {"value": _known(figure.value), "ci": [_known(figure.low), _known(figure.high)]}
        gates[name] = {**values, "held": bool(figure.low > bound)}
    return gates


def _maps(
    columns: Mapping[str, Floats], out: Outcomes, model: str, quantization: str
) -> dict[str, IsotonicMap]:
    return {
        name: IsotonicMap.fit(
            CalibrationKey(model_sha256=model, quantization=quantization, signal=name),
            column,
            out.device_good,
        )
        for name, column in columns.items()
    }


def _known(value: float) -> float | None:
    """``None`` where one side is right, or wrong, throughout."""
    return None if np.isnan(value) else round(value, 4)
