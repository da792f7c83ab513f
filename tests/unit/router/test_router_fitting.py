"""Fitting and its figures, on data whose truth is known."""

import numpy as np
import pytest

from router.evaluation import (
    Outcomes,
    Predicted,
    auroc,
    auroc_within,
    bootstrap,
    gain_over_random,
    pick_auroc,
    routed,
)
from router.fitting import fit_head, fold_numbers, held_out_probabilities, probabilities

ROWS = 600


@pytest.fixture
def labelled():
    """One signal that tells, one that does not, and labels drawn from the first."""
    random = np.random.default_rng(1)
    tells, noise = random.normal(size=ROWS), random.normal(size=ROWS)
    good = random.random(ROWS) < 1 / (1 + np.exp(-(2 * tells - 1)))
    groups = [f"g{row // 2}" for row in range(ROWS)]
    return {"tells": tells, "noise": noise}, good, groups


def test_no_group_stands_on_both_sides(labelled):
    """A group is in one of five folds, whole."""
    _, _, groups = labelled
    folds = fold_numbers(groups, [0] * ROWS)
    names = np.array(groups)
    for fold in range(5):
        assert not set(names[folds == fold]) & set(names[folds != fold])
    assert set(folds) == {0, 1, 2, 3, 4}


def test_strata_are_dealt_out_evenly(labelled):
    """Each fold holds nearly the same share of good answers."""
    _, good, _ = labelled
    folds = fold_numbers([str(row) for row in range(ROWS)], good.tolist())
    shares = [good[folds == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.02


def test_a_head_finds_the_signal_that_tells(labelled):
    """Weights go to it, and probabilities match the frequencies they promise."""
    columns, good, groups = labelled
    head = fit_head(columns, good, groups)
    weights = {term.signal: abs(term.weight) for term in head.terms}
    assert weights["tells"] > 5 * weights["noise"]
    chances = probabilities(head, columns, ROWS)
    sure = chances > 0.7
    assert good[sure].mean() == pytest.approx(chances[sure].mean(), abs=0.1)


def test_held_out_probabilities_of_noise_say_nothing(labelled):
    """A signal without information does not look informative on rows it was not fitted on."""
    columns, good, groups = labelled
    folds = fold_numbers(groups, good.tolist())
    chances = held_out_probabilities({"noise": columns["noise"]}, good, groups, folds)
    assert auroc_within(chances, good, folds) == pytest.approx(0.5, abs=0.1)
    assert float(np.std(chances)) < 0.1


def test_missing_values_and_constant_labels_are_survived(labelled):
    """NaN counts as average; where every label is the same the probability is near it."""
    columns, good, groups = labelled
    gaps = {"tells": np.where(np.arange(ROWS) % 3 == 0, np.nan, columns["tells"])}
    folds = fold_numbers(groups, good.tolist())
    assert np.isfinite(held_out_probabilities(gaps, good, groups, folds)).all()
    never = probabilities(fit_head(columns, np.zeros(ROWS, dtype=bool), groups), columns, ROWS)
    assert (never < 0.05).all()


def test_auroc_of_known_orders():
    """1 for a perfect order, 0 for its reverse, a half for ties, NaN without both classes."""
    labels = np.array([False, False, True, True])
    assert auroc(np.array([1.0, 2, 3, 4]), labels) == 1.0
    assert auroc(np.array([4.0, 3, 2, 1]), labels) == 0.0
    assert auroc(np.ones(4), labels) == 0.5
    assert np.isnan(auroc(np.ones(2), np.array([True, True])))


def test_routing_figures_by_hand():
    """Four questions, two sent away: one gained, one lost."""
    outcomes = Outcomes(
        device_good=np.array([False, True, True, False]),
        cloud_good=np.array([True, False, True, False]),
        groups=["a", "b", "c", "d"],
    )
    rows = np.arange(4)
    perfect = np.array([1.0, -1.0, 0.0, 0.0])
    predicted = Predicted(benefit=perfect, folds=np.zeros(4, dtype=np.intp))
    assert outcomes.oracle == 0.75
    assert routed(perfect, 0.5, outcomes, rows) == 0.75
    assert gain_over_random(predicted, 0.5, outcomes, rows) == 0.25
    assert pick_auroc(predicted, outcomes, rows) == 1.0
    assert routed(-perfect, 0.5, outcomes, rows) == 0.25


def test_ranks_are_compared_within_a_fold_only():
    """Heads of different folds differ in level; that must not count as ranking, either way."""
    labels = np.array([True, False, True, False])
    scores = np.array([0.2, 0.1, 0.9, 0.8])
    folds = np.array([0, 0, 1, 1])
    assert auroc_within(scores, labels, folds) == 1.0
    assert auroc(scores, labels) == 0.75
    assert np.isnan(auroc_within(scores, labels, np.arange(4)))


def test_the_bootstrap_resamples_whole_groups():
    """Rows of one group come and go together, so that copies do not feign certainty."""
    values = np.array([0.0, 1.0] * 100)
    alone = [str(row) for row in range(200)]
    paired = ["low", "high"] * 100
    narrow = bootstrap(lambda rows: float(values[rows].mean()), alone)
    wide = bootstrap(lambda rows: float(values[rows].mean()), paired)
    assert narrow.value == wide.value == 0.5
    assert narrow.high - narrow.low < 0.2
    assert (wide.low, wide.high) == (0.0, 1.0)
