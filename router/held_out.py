"""Graded questions, split so that nothing is judged by what was fitted on it.

Each fold's hidden states are read by probes that were fitted without it, and the heads that judge
a fold are fitted on probes' logits that were cross-fitted among the others: a head must not trust
what a probe only remembers. A group is never split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from router.evaluation import Outcomes
from router.fitting import fit_head, fold_numbers, probabilities
from router.probe import HiddenProbe
from router.signals import ANSWER_SIGNALS

__all__ = [
    "FAMILIES",
    "Folds",
    "HeldOut",
    "Labelled",
    "columns_of",
    "cross_fitted",
    "families_of",
    "probes_of",
    "with_categories",
]

Floats = NDArray[np.float64]
Folds = NDArray[np.intp]

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


class HeldOut:
    """One split: what each fold knows of the others' hidden states, worked out once."""

    def __init__(self, labelled: Labelled, folds: Folds) -> None:
        self.labelled, self.folds = labelled, folds
        self._parts = [self._part(folds == fold) for fold in np.unique(folds)]

    def chances(self, families: Sequence[str]) -> tuple[Floats, Floats]:
        """P(device good), P(cloud good) of each row, by heads and probes fitted without it."""
        device, cloud = np.zeros(len(self.folds)), np.zeros(len(self.folds))
        for part in self._parts:
            fitted = columns_of(part.rest, families, part.crossed)
            seen = columns_of(part.mine, families, part.measured)
            good = part.rest.outcomes
            if not seen:
                device[part.test], cloud[part.test] = good.device_good.mean(), 0.5
                continue
            for result, labels in ((device, good.device_good), (cloud, good.cloud_good)):
                head = fit_head(fitted, labels, good.groups, seed=1)
                result[part.test] = probabilities(head, seen, int(part.test.sum()))
        return device, cloud

    def _part(self, test: NDArray[np.bool_]) -> "_Part":
        rest, mine = self.labelled.rows(~test), self.labelled.rows(test)
        return _Part(
            test=test,
            rest=rest,
            mine=mine,
            crossed=cross_fitted(rest),
            measured=_measured(probes_of(rest), mine),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One fold (``mine``), and the others with their own hidden states' logits."""

    test: NDArray[np.bool_]
    rest: Labelled
    mine: Labelled
    crossed: Mapping[str, Floats]
    measured: Mapping[str, Floats]


def families_of(labelled: Labelled, families: Sequence[str]) -> list[str]:
    """Those of which this set has anything."""
    absent = {"hidden_state"} if labelled.hidden is None else set[str]()
    if not any(name in labelled.columns for name in FAMILIES["answer"]):
        absent.add("answer")
    return [family for family in families if family not in absent]


def columns_of(
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


def with_categories(labelled: Labelled) -> Labelled:
    """One column for each category, the same in every fold."""
    names = np.array(labelled.categories)
    own = {f"{CATEGORY}{name}": (names == name).astype(np.float64) for name in sorted(set(names))}
    return replace(labelled, columns={**labelled.columns, **own})


def probes_of(labelled: Labelled) -> tuple[HiddenProbe, ...]:
    if labelled.hidden is None:
        return ()
    out = labelled.outcomes
    grades = dict(zip(PROBES, (out.device_good, out.cloud_good), strict=True))
    return HiddenProbe.fit_all(grades, labelled.hidden)


def _measured(probes: Sequence[HiddenProbe], labelled: Labelled) -> dict[str, Floats]:
    states = labelled.hidden
    return {} if states is None else {probe.name: probe.logits(states) for probe in probes}


def cross_fitted(labelled: Labelled) -> dict[str, Floats]:
    """Each row's logits by probes fitted without its fold: a head must not trust a memory."""
    if labelled.hidden is None:
        return {}
    folds = labelled.folds
    logits = {name: np.zeros(len(folds)) for name in PROBES}
    for fold in np.unique(folds):
        test = folds == fold
        for name, values in _measured(probes_of(labelled.rows(~test)), labelled.rows(test)).items():
            logits[name][test] = values
    return logits


def _kept(values: Sequence[str], mask: NDArray[np.bool_]) -> list[str]:
    return [value for value, keep in zip(values, mask, strict=True) if keep]
