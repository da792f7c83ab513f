"""Graded questions, split so that nothing is judged by what was fitted on it.

Each fold's hidden states and categories are read by probes and priors that were fitted without it,
and the heads that judge a fold are fitted on logits that were cross-fitted among the others: a head
must not trust what a probe only remembers. A group is never split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.category import CategoryPrior
from router.evaluation import Outcomes
from router.fitting import fit_head, fold_numbers, probabilities, with_and_without
from router.heads import Head
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
    "fitted_head",
    "priors_of",
    "probes_of",
]

Floats = NDArray[np.float64]
Folds = NDArray[np.intp]

PROBES = ("hidden_device", "hidden_cloud")
PRIORS = ("category_device", "category_cloud")
FITTED = frozenset({"hidden_state", "category"})
"""Families whose columns come of something fitted."""
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "hidden_state": PROBES,
    "first_token": ("first_token_entropy", "first_token_margin", "first_token_surprise"),
    "early_decode": ("draft_entropy", "draft_margin", "draft_repetition"),
    "answer": tuple(signal.name for signal in ANSWER_SIGNALS),
    "prompt": ("prompt_length",),
    "category": PRIORS,
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
                head = fitted_head(fitted, labels, good.groups, seed=1)
                result[part.test] = probabilities(head, seen, int(part.test.sum()))
        return device, cloud

    def _part(self, test: NDArray[np.bool_]) -> "_Part":
        rest, mine = self.labelled.rows(~test), self.labelled.rows(test)
        return _Part(
            test=test,
            rest=rest,
            mine=mine,
            crossed=cross_fitted(rest),
            measured=_measured(rest, mine),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One fold (``mine``), and the others with the logits of their own states and categories."""

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
    labelled: Labelled, families: Sequence[str], fitted: Mapping[str, Floats]
) -> dict[str, Floats]:
    """The families' columns, those without any value left out."""
    held: dict[str, Floats] = {}
    for family in families:
        source = fitted if family in FITTED else labelled.columns
        held |= {name: source[name] for name in FAMILIES[family] if name in source}
    return {name: column for name, column in held.items() if np.isfinite(column).any()}


def fitted_head(
    columns: Mapping[str, Floats], good: NDArray[np.bool_], groups: Sequence[str], *, seed: int = 0
) -> Head:
    """A head that copes without a category: every question counts once more, without its own.

    Else the head would lean on what few requests name, and be lost without it.
    """
    return fit_head(*with_and_without(columns, good, groups, PRIORS), seed=seed)


def probes_of(labelled: Labelled) -> tuple[HiddenProbe, ...]:
    if labelled.hidden is None:
        return ()
    return HiddenProbe.fit_all(_grades(labelled, PROBES), labelled.hidden)


def priors_of(labelled: Labelled) -> tuple[CategoryPrior, ...]:
    return CategoryPrior.fit_all(_grades(labelled, PRIORS), labelled.categories)


def cross_fitted(labelled: Labelled) -> dict[str, Floats]:
    """Each row's logits by probes and priors fitted without its fold; NaN where there is none."""
    folds = labelled.folds
    logits: dict[str, Floats] = {}
    for fold in np.unique(folds):
        test = folds == fold
        for name, values in _measured(labelled.rows(~test), labelled.rows(test)).items():
            logits.setdefault(name, np.full(len(folds), np.nan))[test] = values
    return logits


def _measured(rest: Labelled, mine: Labelled) -> dict[str, Floats]:
    """What probes and priors of ``rest`` make of ``mine``."""
    states = mine.hidden
    probed = {} if states is None else {p.name: p.logits(states) for p in probes_of(rest)}
    return probed | {prior.name: prior.column(mine.categories) for prior in priors_of(rest)}


def _grades(labelled: Labelled, names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    out = labelled.outcomes
    return dict(zip(names, (out.device_good, out.cloud_good), strict=True))


def _kept(values: Sequence[str], mask: NDArray[np.bool_]) -> list[str]:
    return [value for value, keep in zip(values, mask, strict=True) if keep]
