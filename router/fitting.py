"""Fits calibrated heads to labelled measurements. numpy only; everything is split by group.

A group is whatever must not stand on both sides of a split: questions with the same answer, the
same passage, the same subject. Signals that are missing (NaN) count as average in a fit.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.heads import Head, Term

__all__ = [
    "fit_head",
    "fold_numbers",
    "held_out_probabilities",
    "newton",
    "probabilities",
    "with_and_without",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Columns = Mapping[str, Floats]
"""Signal name to values, each of shape (rows,); NaN where it was not measured."""

RIDGE = 1.0
"""Penalty on standardized weights: one pseudo-observation, enough to keep separable data finite."""
FOLDS = 5
NEWTON_STEPS = 50


def fold_numbers(
    groups: Sequence[str], strata: Sequence[object], *, folds: int = FOLDS, seed: int = 0
) -> NDArray[np.intp]:
    """The fold of each row; a group is in one fold only, and strata are dealt out evenly.

    Even dealing matters: where a fold happens to hold more good answers, the rest hold fewer, so
    that heads fitted on the rest rank held-out rows backwards when signals say little.
    """
    stratum = dict(zip(reversed(groups), reversed(strata), strict=True))
    names = sorted(stratum)
    mixed = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    dealt = sorted(mixed, key=lambda name: str(stratum[name]))
    fold_of = {name: place % folds for place, name in enumerate(dealt)}
    return np.array([fold_of[group] for group in groups], dtype=np.intp)


def fit_head(columns: Columns, good: Flags, groups: Sequence[str], *, seed: int = 0) -> Head:
    """A logistic head on all rows, calibrated (Platt) on the scores of held-out groups."""
    scores = np.zeros(len(good))
    for train, test in _splits(fold_numbers(groups, good.tolist(), seed=seed)):
        scores[test] = _scores(_fit_plain(_rows(columns, train), good[train]), columns, test)
    slope, intercept = _fit_platt(scores, good)
    plain = _fit_plain(columns, good)
    return Head(bias=plain.bias, terms=plain.terms, slope=slope, intercept=intercept)


def with_and_without(
    columns: Columns, good: Flags, groups: Sequence[str], optional: Collection[str]
) -> tuple[Columns, Flags, Sequence[str]]:
    """Every row twice, the second time without its ``optional`` values.

    Once, where no column is optional, or all are.
    """
    if len({name in optional for name in columns}) < 2:
        return columns, good, groups
    missing = np.full(len(good), np.nan)
    doubled = {
        name: np.concatenate([column, missing if name in optional else column])
        for name, column in columns.items()
    }
    return doubled, np.concatenate([good, good]), [*groups, *groups]


def held_out_probabilities(
    columns: Columns, good: Flags, groups: Sequence[str], folds: NDArray[np.intp]
) -> Floats:
    """P(good) of each row from a head that was fitted and calibrated without the row's fold.

    ``folds`` may be ``fold_numbers`` of the groups, or any coarser split, such as by subject.
    """
    result = np.zeros(len(good))
    for train, test in _splits(folds):
        kept = [group for group, keep in zip(groups, train, strict=True) if keep]
        head = fit_head(_rows(columns, train), good[train], kept, seed=1)
        result[test] = probabilities(head, _rows(columns, test), int(test.sum()))
    return result


def probabilities(head: Head, columns: Columns, rows: int) -> Floats:
    """``Head.probability`` of each row."""
    return np.array([head.probability(_row(columns, index)) for index in range(rows)])


def _splits(folds: NDArray[np.intp]) -> Iterator[tuple[Flags, Flags]]:
    """(train, test) row masks, one for each fold."""
    for fold in np.unique(folds):
        test = folds == fold
        yield ~test, test


def _row(columns: Columns, index: int) -> dict[str, float | None]:
    values = {name: float(column[index]) for name, column in columns.items()}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _rows(columns: Columns, mask: Flags) -> dict[str, Floats]:
    return {name: column[mask] for name, column in columns.items()}


def _scores(head: Head, columns: Columns, mask: Flags) -> Floats:
    part = _rows(columns, mask)
    return np.array([head.score(_row(part, index)) for index in range(int(mask.sum()))])


def _fit_plain(columns: Columns, good: Flags) -> Head:
    """Standardize, then ridge-penalized logistic regression."""
    names = list(columns)
    means = [float(np.nanmean(columns[name])) for name in names]
    scales = [float(np.nanstd(columns[name])) or 1.0 for name in names]
    design = np.ones((len(good), len(names) + 1))
    for place, name in enumerate(names):
        standard = (columns[name] - means[place]) / scales[place]
        design[:, place + 1] = np.nan_to_num(standard, nan=0.0)
    solution = newton(design, good.astype(np.float64))
    terms = tuple(
        Term(signal=name, mean=means[i], scale=scales[i], weight=float(solution[i + 1]))
        for i, name in enumerate(names)
    )
    return Head(bias=float(solution[0]), terms=terms)


def _fit_platt(scores: Floats, good: Flags) -> tuple[float, float]:
    """Slope and intercept by Platt's targets, which keep a perfect split finite.

    A slope below zero would mean that held-out scores point the wrong way: then the scores say
    nothing, and the calibrated probability is the base rate.
    """
    positives, negatives = int(good.sum()), int((~good).sum())
    targets = np.where(good, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([np.ones(len(scores)), scores])
    intercept, slope = (float(value) for value in newton(design, targets, ridge=1e-6))
    if slope > 0:
        return slope, intercept
    rate = float(targets.mean())
    return 0.0, float(np.log(rate / (1 - rate)))


def newton(design: Floats, targets: Floats, *, ridge: float = RIDGE) -> Floats:
    """Newton's method on the penalized log-likelihood; column 0 is the bias and free of penalty."""
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 1e-6  # all-equal labels would otherwise send the bias to infinity
    weights = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (chance - targets) + penalty * weights
        curvature = (design.T * (chance * (1 - chance))) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if float(np.abs(step).max()) < 1e-9:
            break
    return weights
