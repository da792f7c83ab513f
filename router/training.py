"""Fits an estimator to a pair's own graded answers, and says what each signal is worth.

Every figure is on questions the heads and probes were not fitted on; a group is never split.
`predictive` is claimed only where three lower bounds (95%) hold at once, on held-out questions:

    1. routing gains over sending the same share at random;
    2. routing gains over the device alone;
    3. with each category left out in turn, the predicted benefit still picks the better side
       (by group where there is one category).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanai.errors import UsageError
from router.estimator import AfterAnswer, LogisticEstimator, MeasuredPair
from router.evaluation import (
    Outcomes,
    Predicted,
    auroc_within,
    bootstrap,
    gain_over_random,
    pick_auroc,
    routed,
)
from router.fitting import fit_head, fold_numbers, probabilities
from router.isotonic import CalibrationKey, IsotonicMap
from router.probe import HiddenProbe
from router.promises import bounds_of, reference_of, worth_beside
from router.signals import ANSWER_SIGNALS

__all__ = ["FAMILIES", "Labelled", "train", "worth_of"]

Floats = NDArray[np.float64]
Folds = NDArray[np.intp]

FEWEST = 20
CATEGORY = "category "
PROBES = ("hidden_device", "hidden_cloud")
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "hidden_state": PROBES,
    "first_token": ("first_token_entropy", "first_token_margin", "first_token_surprise"),
    "early_decode": ("draft_entropy", "draft_margin", "draft_repetition"),
    "answer": tuple(signal.name for signal in ANSWER_SIGNALS),
    "prompt": ("prompt_length",),
    "category": (),
}
AT_PREFILL = ("hidden_state", "first_token", "prompt")
"""What a running router has before the first token; the heads that decide there use these."""
AFTER_ANSWER = (*AT_PREFILL, "early_decode", "answer")
"""What it has when the whole answer is there and nobody has seen it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Graded questions; shapes (rows,), the hidden states (rows, width) or ``None``."""

    columns: Mapping[str, Floats]
    hidden: Floats | None
    outcomes: Outcomes
    categories: Sequence[str]

    def rows(self, mask: NDArray[np.bool_]) -> "Labelled":
        out = self.outcomes
        return Labelled(
            columns={name: column[mask] for name, column in self.columns.items()},
            hidden=None if self.hidden is None else self.hidden[mask],
            outcomes=Outcomes(
                device_good=out.device_good[mask],
                cloud_good=out.cloud_good[mask],
                groups=_kept(out.groups, mask),
            ),
            categories=_kept(self.categories, mask),
        )

    @property
    def folds(self) -> Folds:
        out = self.outcomes
        strata = list(zip(self.categories, out.device_good, out.cloud_good, strict=True))
        return fold_numbers(out.groups, strata)


def worth_of(labelled: Labelled, families: Sequence[str], folds: Folds) -> dict[str, Any]:
    """Held-out AUROC of both heads and of picking the better side, from these signals."""
    out = labelled.outcomes
    device, cloud = _held_out(labelled, families, folds)
    benefit = Predicted(benefit=cloud - device, folds=folds)
    everything = np.arange(len(folds))
    return {
        "device_good": _known(auroc_within(device, out.device_good, folds)),
        "cloud_good": _known(auroc_within(cloud, out.cloud_good, folds)),
        "pick": _known(pick_auroc(benefit, out, everything)),
    }


def ablation(labelled: Labelled, progress: Callable[[int, int], None]) -> dict[str, dict[str, Any]]:
    """Each family alone, all, and all but one."""
    held = _measured_families(labelled, tuple(FAMILIES))
    sets = {f"only {name}": [name] for name in held} | {"all": held}
    sets |= {f"all but {name}": [other for other in held if other != name] for name in held}
    folds, table = labelled.folds, {}
    for done, (name, families) in enumerate(sets.items()):
        progress(done, len(sets))
        table[name] = worth_of(labelled, families, folds)
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
    out, labelled = labelled.outcomes, _with_categories(labelled)
    if len(set(out.groups)) < FEWEST:
        raise UsageError(f"needs at least {FEWEST} questions", hint="some hundred are better")
    families = _measured_families(labelled, AT_PREFILL)
    later = _measured_families(labelled, AFTER_ANSWER)
    held_out = _held_out(labelled, families, labelled.folds)
    figures: dict[str, Any] = {
        "labels": len(labelled.categories),
        "accuracy": {
            "device": round(float(out.device_good.mean()), 4),
            "cloud": round(float(out.cloud_good.mean()), 4),
            "oracle": round(out.oracle, 4),
        },
        "auroc": worth_of(labelled, families, labelled.folds),
        "gates": _gates(labelled, families, price),
        "gates_after_answer": _gates(labelled, later, price),
        "worth": _worth(labelled, held_out, _held_out(labelled, later, labelled.folds)),
        "ablation": ablation(labelled, progress),
    }
    for name, gates in (("predictive", "gates"), ("predictive_after", "gates_after_answer")):
        figures[name] = all(gate["held"] for gate in figures[gates].values())
    score, crossed = held_out[0] - held_out[1], _cross_fitted(labelled)
    columns = _columns(labelled, families, crossed)
    whole = _columns(labelled, later, crossed)
    estimator = LogisticEstimator(
        pair=pair,
        predictive=bool(figures["predictive"]),
        device_head=fit_head(columns, out.device_good, out.groups),
        cloud_head=fit_head(columns, out.cloud_good, out.groups),
        alone={},
        isotonic=_maps(columns, out, pair.device.weights_sha256, quantization),
        probes=_probes(labelled),
        after_answer=AfterAnswer(
            predictive=bool(figures["predictive_after"]),
            device_head=fit_head(whole, out.device_good, out.groups),
            cloud_head=fit_head(whole, out.cloud_good, out.groups),
        ),
        bounds=bounds_of(score, out, labelled.categories),
        reference=reference_of(score),
        measurement={**provenance, **figures, "price": price},
    )
    return estimator, figures


def _measured_families(labelled: Labelled, families: Sequence[str]) -> list[str]:
    """Those of which this set has anything."""
    absent = {"hidden_state"} if labelled.hidden is None else set[str]()
    if not any(name in labelled.columns for name in FAMILIES["answer"]):
        absent.add("answer")
    return [family for family in families if family not in absent]


def _worth(
    labelled: Labelled, early: tuple[Floats, Floats], late: tuple[Floats, Floats]
) -> dict[str, Any]:
    """APGR without and with the answer's own confidence, beside length, chance and the oracle."""
    rankings = {"at_prefill": early[1] - early[0], "with_answer": late[1] - late[0]}
    length = labelled.columns.get("prompt_length")
    return worth_beside(rankings, length, labelled.outcomes, labelled.folds)


def _held_out(labelled: Labelled, families: Sequence[str], folds: Folds) -> tuple[Floats, Floats]:
    """P(device good), P(cloud good) of each row, by heads and probes fitted without its fold."""
    device, cloud = np.zeros(len(folds)), np.zeros(len(folds))
    for fold in np.unique(folds):
        test = folds == fold
        rest, mine = labelled.rows(~test), labelled.rows(test)
        fitted = _columns(rest, families, _cross_fitted(rest))
        seen = _columns(mine, families, _measured(_probes(rest), mine))
        if not seen:
            device[test], cloud[test] = rest.outcomes.device_good.mean(), 0.5
            continue
        good = rest.outcomes
        for result, labels in ((device, good.device_good), (cloud, good.cloud_good)):
            head = fit_head(fitted, labels, good.groups, seed=1)
            result[test] = probabilities(head, seen, int(test.sum()))
    return device, cloud


def _columns(
    labelled: Labelled, families: Sequence[str], hidden: Mapping[str, Floats]
) -> dict[str, Floats]:
    """The families' columns, those without any value left out."""
    held: dict[str, Floats] = {}
    for family in families:
        if family == "category":
            held |= {n: c for n, c in labelled.columns.items() if n.startswith(CATEGORY)}
            continue
        source = hidden if family == "hidden_state" else labelled.columns
        held |= {name: source[name] for name in FAMILIES[family] if name in source}
    return {name: column for name, column in held.items() if np.isfinite(column).any()}


def _with_categories(labelled: Labelled) -> Labelled:
    """One column for each category, the same in every fold."""
    names = np.array(labelled.categories)
    own = {f"{CATEGORY}{name}": (names == name).astype(np.float64) for name in sorted(set(names))}
    return replace(labelled, columns={**labelled.columns, **own})


def _probes(labelled: Labelled) -> tuple[HiddenProbe, ...]:
    if labelled.hidden is None:
        return ()
    out = labelled.outcomes
    grades = (out.device_good, out.cloud_good)
    return tuple(
        HiddenProbe.fit(name, labelled.hidden, good)
        for name, good in zip(PROBES, grades, strict=True)
    )


def _measured(probes: Sequence[HiddenProbe], labelled: Labelled) -> dict[str, Floats]:
    states = labelled.hidden
    return {} if states is None else {probe.name: probe.logits(states) for probe in probes}


def _cross_fitted(labelled: Labelled) -> dict[str, Floats]:
    """Each row's logits by probes fitted without its fold: a head must not trust a memory."""
    if labelled.hidden is None:
        return {}
    folds = labelled.folds
    logits = {name: np.zeros(len(folds)) for name in PROBES}
    for fold in np.unique(folds):
        test = folds == fold
        for name, values in _measured(_probes(labelled.rows(~test)), labelled.rows(test)).items():
            logits[name][test] = values
    return logits


def _gates(labelled: Labelled, families: Sequence[str], price: float) -> dict[str, Any]:
    out, folds = labelled.outcomes, labelled.folds
    away = folds
    if len(set(labelled.categories)) > 1:
        away = np.unique(np.array(labelled.categories), return_inverse=True)[1]
    device, cloud = _held_out(labelled, families, folds)
    here = Predicted(benefit=cloud - device, folds=folds)
    device, cloud = _held_out(labelled, families, away)
    elsewhere = Predicted(benefit=cloud - device, folds=away)
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


def _kept(values: Sequence[str], mask: NDArray[np.bool_]) -> list[str]:
    return [value for value, keep in zip(values, mask, strict=True) if keep]


def _known(value: float) -> float | None:
    """``None`` where one side is right, or wrong, throughout."""
    return None if np.isnan(value) else round(value, 4)
