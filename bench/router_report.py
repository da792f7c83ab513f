"""From raw rows to figures and to the estimator file.

The claim that signals predict where the cloud is better (`predictive`) is made only when, on
questions the heads were not fitted on, three lower bounds (95%) hold at once:

    1. routing gains over sending the same share at random;
    2. routing gains over the device alone;
    3. with each question set left out in turn, the predicted benefit still picks the better side.

These were fixed before the first measurement. Without them the router stays on the device. Ranks
are compared within a fold only: heads of different folds differ in level.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.estimator import LogisticEstimator, MeasuredPair
from router.evaluation import (
    Figure,
    Outcomes,
    Predicted,
    auroc_within,
    bootstrap,
    gain_over_random,
    pick_auroc,
    routed,
)
from router.fitting import fit_head, fold_numbers, held_out_probabilities
from router.signals import PREFILL_SIGNALS

Rows = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]
Folds = NDArray[np.intp]

PREFILL = tuple(signal.name for signal in PREFILL_SIGNALS)
DRAFT = ("draft_entropy", "draft_margin", "draft_repetition")
PRICES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)
LEAST_SHARE = 0.01


class Measured:
    """Rows as arrays, with the figures one asks of them."""

    def __init__(self, rows: Rows, groups: Sequence[str]) -> None:
        self.sets = [str(row["set"]) for row in rows]
        self.outcomes = Outcomes(
            device_good=np.array([row["device_good"] for row in rows], dtype=bool),
            cloud_good=np.array([row["cloud_good"] for row in rows], dtype=bool),
            groups=groups,
        )
        self.columns = {
            name: np.array([np.nan if row[name] is None else row[name] for row in rows], float)
            for name in (*PREFILL, *DRAFT)
        }

    def part(self, names: Sequence[str]) -> dict[str, Floats]:
        return {name: self.columns[name] for name in names}

    @property
    def folds(self) -> Folds:
        """Five, by group, with every set and pair of outcomes dealt out evenly."""
        out = self.outcomes
        strata = list(zip(self.sets, out.device_good, out.cloud_good, strict=True))
        return fold_numbers(out.groups, strata)

    @property
    def set_folds(self) -> Folds:
        """One fold a question set."""
        return np.unique(self.sets, return_inverse=True)[1]

    def chances(self, names: Sequence[str], folds: Folds) -> tuple[Floats, Floats]:
        """Held-out P(device good) and P(cloud good) from these signals."""
        part, out = self.part(names), self.outcomes
        return (
            held_out_probabilities(part, out.device_good, out.groups, folds),
            held_out_probabilities(part, out.cloud_good, out.groups, folds),
        )

    def predicted(self, names: Sequence[str], folds: Folds) -> Predicted:
        device, cloud = self.chances(names, folds)
        return Predicted(benefit=cloud - device, folds=folds)


def figures(measured: Measured, price: float) -> dict[str, Any]:
    """All figures; ``price`` is the policy's ``escalate_above_benefit``."""
    out = measured.outcomes
    folds = measured.folds
    device, cloud = measured.chances(PREFILL, folds)
    here = Predicted(benefit=cloud - device, folds=folds)
    elsewhere = measured.predicted(PREFILL, measured.set_folds)
    gates = {
        "gain_over_random": _figure(out, lambda r: gain_over_random(here, price, out, r)),
        "gain_over_device": _figure(out, lambda r: _gain(here, price, out, r)),
        "pick_auroc_set_left_out": _figure(out, lambda r: pick_auroc(elsewhere, out, r)),
    }
    bounds = (0.0, 0.0, 0.5)
    predictive = all(
        figure.low > bound for figure, bound in zip(gates.values(), bounds, strict=True)
    )
    return {
        "questions": len(measured.sets),
        "predictive": predictive,
        "accuracy": {
            "device": _figure(out, lambda r: float(out.device_good[r].mean())).to_json_dict(),
            "cloud": _figure(out, lambda r: float(out.cloud_good[r].mean())).to_json_dict(),
            "oracle": round(out.oracle, 4),
        },
        "sets": _by_set(measured),
        "auroc": {
            "device_good": _ranking(out, device, out.device_good, folds),
            "cloud_good": _ranking(out, cloud, out.cloud_good, folds),
            "pick": _figure(out, lambda r: pick_auroc(here, out, r)).to_json_dict(),
        },
        "price": price,
        "gates": {name: figure.to_json_dict() for name, figure in gates.items()},
        "curve": [_point(here, above, out) for above in PRICES],
        "alone": {name: _alone(measured, (name,)) for name in (*PREFILL, *DRAFT)},
        "with_draft": _alone(measured, (*PREFILL, *DRAFT)),
    }


def estimator_of(
    measured: Measured, pair: MeasuredPair, found: Mapping[str, Any], provenance: Mapping[str, Any]
) -> LogisticEstimator:
    """Heads on all rows; signals alone as well; the figures as provenance."""
    out, part = measured.outcomes, measured.part(PREFILL)
    kept = ("questions", "accuracy", "sets", "auroc", "price", "gates", "curve")
    return LogisticEstimator(
        pair=pair,
        predictive=bool(found["predictive"]),
        device_head=fit_head(part, out.device_good, out.groups),
        cloud_head=fit_head(part, out.cloud_good, out.groups),
        alone={
            name: fit_head({name: column}, out.device_good, out.groups)
            for name, column in part.items()
        },
        measurement={**provenance, **{key: found[key] for key in kept}},
    )


def _figure(out: Outcomes, statistic: Any) -> Figure:
    return bootstrap(statistic, out.groups)


def _ranking(
    out: Outcomes, scores: Floats, good: NDArray[np.bool_], folds: Folds
) -> dict[str, Any]:
    return _figure(out, lambda r: auroc_within(scores[r], good[r], folds[r])).to_json_dict()


def _gain(predicted: Predicted, above: float, out: Outcomes, rows: Folds) -> float:
    return routed(predicted.benefit, above, out, rows) - float(out.device_good[rows].mean())


def _point(predicted: Predicted, above: float, out: Outcomes) -> dict[str, Any]:
    """One point of the deferral curve."""
    everything = np.arange(len(predicted.folds))
    return {
        "above": above,
        "share": round(float((predicted.benefit > above).mean()), 4),
        "accuracy": round(routed(predicted.benefit, above, out, everything), 4),
        "gain_over_device": _figure(out, lambda r: _gain(predicted, above, out, r)).to_json_dict(),
        "gain_over_random": _figure(
            out, lambda r: gain_over_random(predicted, above, out, r)
        ).to_json_dict(),
    }


def _alone(measured: Measured, names: Sequence[str]) -> dict[str, Any]:
    """How well these signals pick: on held-out questions, and on sets left out."""
    out = measured.outcomes
    folds = measured.folds
    device, cloud = measured.chances(names, folds)
    here = Predicted(benefit=cloud - device, folds=folds)
    away = measured.predicted(names, measured.set_folds)
    return {
        "device_good": _ranking(out, device, out.device_good, folds),
        "pick": _figure(out, lambda r: pick_auroc(here, out, r)).to_json_dict(),
        "pick_set_left_out": _figure(out, lambda r: pick_auroc(away, out, r)).to_json_dict(),
    }


def _by_set(measured: Measured) -> dict[str, Any]:
    out, sets = measured.outcomes, np.array(measured.sets)
    result = {}
    for name in sorted(set(measured.sets)):
        mine = sets == name
        device, cloud = out.device_good[mine], out.cloud_good[mine]
        result[name] = {
            "questions": int(mine.sum()),
            "device": round(float(device.mean()), 4),
            "cloud": round(float(cloud.mean()), 4),
            "oracle": round(float((device | cloud).mean()), 4),
        }
    return result
