"""From raw rows to figures and to the estimator file.

The claim that signals predict where the cloud is better (`predictive`) is made only when, on
questions the heads were not fitted on, three lower bounds (95%) hold at once:

    1. routing gains over sending the same share at random;
    2. routing gains over the device alone;
    3. with each question set left out in turn, the predicted benefit still picks the better side.

These were fixed before the first measurement. Without them the router stays on the device.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.estimator import LogisticEstimator, MeasuredPair
from router.evaluation import (
    Figure,
    Outcomes,
    auroc,
    bootstrap,
    gain_over_random,
    pick_auroc,
    routed,
)
from router.fitting import fit_head, group_folds, held_out_probabilities, probabilities
from router.signals import PREFILL_SIGNALS

Rows = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]

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

    def benefit(self, names: Sequence[str], groups: Sequence[str]) -> tuple[Floats, Floats]:
        """Held-out P(device good) and P(cloud good) from these signals."""
        part, out = self.part(names), self.outcomes
        return (
            held_out_probabilities(part, out.device_good, groups),
            held_out_probabilities(part, out.cloud_good, groups),
        )

    def set_left_out(self, names: Sequence[str]) -> Floats:
        """Benefit of each row from heads fitted without its whole question set."""
        result = np.zeros(len(self.sets))
        folds = group_folds(self.sets, len(set(self.sets)), 0)
        for train, test in folds:
            kept = [g for g, keep in zip(self.outcomes.groups, train, strict=True) if keep]
            seen = {name: column[train] for name, column in self.part(names).items()}
            asked = {name: column[test] for name, column in self.part(names).items()}
            count = int(test.sum())
            for sign, good in ((1, self.outcomes.cloud_good), (-1, self.outcomes.device_good)):
                head = fit_head(seen, good[train], kept)
                result[test] += sign * probabilities(head, asked, count)
        return result


def figures(measured: Measured, price: float) -> dict[str, Any]:
    """All figures; ``price`` is the policy's ``escalate_above_benefit``."""
    out = measured.outcomes
    device, cloud = measured.benefit(PREFILL, out.groups)
    benefit = cloud - device
    elsewhere = measured.set_left_out(PREFILL)
    gates = {
        "gain_over_random": _figure(out, lambda r: gain_over_random(benefit, price, out, r)),
        "gain_over_device": _figure(out, lambda r: _gain(benefit, price, out, r)),
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
            "device_good": _ranking(out, device, out.device_good),
            "cloud_good": _ranking(out, cloud, out.cloud_good),
            "pick": _figure(out, lambda r: pick_auroc(benefit, out, r)).to_json_dict(),
        },
        "price": price,
        "gates": {name: figure.to_json_dict() for name, figure in gates.items()},
        "curve": [_point(benefit, above, out) for above in PRICES],
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


def _ranking(out: Outcomes, scores: Floats, good: NDArray[np.bool_]) -> dict[str, Any]:
    return _figure(out, lambda r: auroc(scores[r], good[r])).to_json_dict()


def _gain(benefit: Floats, above: float, out: Outcomes, rows: NDArray[np.intp]) -> float:
    return routed(benefit, above, out, rows) - float(out.device_good[rows].mean())


def _point(benefit: Floats, above: float, out: Outcomes) -> dict[str, Any]:
    """One point of the deferral curve."""
    return {
        "above": above,
        "share": round(float((benefit > above).mean()), 4),
        "accuracy": round(routed(benefit, above, out, np.arange(len(benefit))), 4),
        "gain_over_device": _figure(out, lambda r: _gain(benefit, above, out, r)).to_json_dict(),
        "gain_over_random": _figure(
            out, lambda r: gain_over_random(benefit, above, out, r)
        ).to_json_dict(),
    }


def _alone(measured: Measured, names: Sequence[str]) -> dict[str, Any]:
    """How well these signals pick: on held-out questions, and on sets left out."""
    out = measured.outcomes
    device, cloud = measured.benefit(names, out.groups)
    away = measured.set_left_out(names)
    return {
        "device_good": _ranking(out, device, out.device_good),
        "pick": _figure(out, lambda r: pick_auroc(cloud - device, out, r)).to_json_dict(),
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
