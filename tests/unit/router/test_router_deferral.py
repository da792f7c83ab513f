"""The deferral curve and its figures, against a count by hand and by brute force."""

import itertools

import numpy as np
import pytest

from router.deferral import DeferralCurve
from router.evaluation import bootstrap
from router.results import Results
from router.worth import baselines, judge_rankings, worth_json


def brute_apgr(order, device, cloud):
    """The mean height of the staircase: at share c the nearest whole number of questions went."""
    n, gap = len(device), (cloud - device).sum()
    heights = [(cloud - device)[list(order[:sent])].sum() / gap for sent in range(n + 1)]
    widths = [0.5, *[1.0] * (n - 1), 0.5]
    return float(np.dot(heights, widths) / n)


def brute_cpt(order, device, cloud, wanted):
    gain = (cloud - device)[list(order)]
    reached = np.r_[0, np.cumsum(gain)] >= wanted * gain.sum() - 1e-9
    return int(reached.argmax()) / len(gain)


@pytest.fixture
def grades():
    random = np.random.default_rng(2)
    device = (random.random(60) < 0.5).astype(float)
    return device, np.maximum(device, random.random(60) < 0.5) - (random.random(60) < 0.05) * device


def test_the_figures_of_a_strict_order_are_those_of_the_staircase(grades):
    """Step by step, for a hundred random orders."""
    device, cloud = grades
    random = np.random.default_rng(0)
    for _ in range(100):
        scores = random.permutation(60).astype(float)
        curve = DeferralCurve.of(scores, device, cloud)
        order = np.argsort(-scores)
        assert curve.apgr()[0] == pytest.approx(brute_apgr(order, device, cloud))
        assert curve.cpt(0.5)[0] == pytest.approx(brute_cpt(order, device, cloud, 0.5))


def test_ties_count_as_the_mean_over_their_orders():
    """Every order of the tied questions, averaged, is the figure."""
    scores = np.array([2.0, 1.0, 1.0, 1.0, 0.0])
    device, cloud = np.array([0.0, 0, 1, 0, 1]), np.array([1.0, 1, 0, 1, 1])
    orders = [(0, *middle, 4) for middle in itertools.permutations((1, 2, 3))]
    mean = np.mean([brute_apgr(order, device, cloud) for order in orders])
    assert DeferralCurve.of(scores, device, cloud).apgr()[0] == pytest.approx(mean)


def test_a_random_order_has_exactly_a_half(grades):
    """The baseline is no estimate; turning a ranking around mirrors its area."""
    device, cloud = grades
    scores = np.random.default_rng(1).random(60)
    assert DeferralCurve.of(np.zeros(60), device, cloud).apgr()[0] == pytest.approx(0.5)
    there, back = (DeferralCurve.of(s, device, cloud).apgr()[0] for s in (scores, -scores))
    assert there + back == pytest.approx(1.0)


def test_weights_are_the_same_as_repeated_rows(grades):
    """The vectorized bootstrap and a table with copied rows agree, figure by figure."""
    device, cloud = grades
    random = np.random.default_rng(3)
    scores, times = random.integers(0, 9, 60).astype(float), random.integers(0, 4, 60)
    weighted = DeferralCurve.of(scores, device, cloud, times[None].astype(float))
    copied = DeferralCurve.of(*(np.repeat(a, times) for a in (scores, device, cloud)))
    shares = np.linspace(0, 1, 7)
    for figure in (
        lambda c: c.apgr(),
        lambda c: c.cpt(0.8),
        lambda c: c.aiq(),
        lambda c: c.accuracy(shares)[0],
        lambda c: c.wasted(shares)[0],
    ):
        np.testing.assert_allclose(figure(weighted), figure(copied), rtol=1e-12)


def test_aiq_is_the_area_under_the_hull():
    """One question won last: the hull is the straight line; won first: full height at once."""
    device, cloud = np.array([1.0, 1, 1, 0]), np.ones(4)
    late = DeferralCurve.of(np.array([3.0, 2, 1, 0]), device, cloud)
    early = DeferralCurve.of(np.array([0.0, 1, 2, 3]), device, cloud)
    assert late.aiq()[0] == pytest.approx((0.75 + 1.0) / 2)
    assert early.aiq()[0] == pytest.approx(1 - 0.25 / 8)


def test_without_a_gap_there_is_no_figure():
    """A cloud that is no better leaves nothing to recover: NaN, and null in JSON."""
    results = made(np.ones(30), np.ones(30))
    judged = judge_rankings({"text": np.arange(30.0)} | baselines(results), results, results.ids)
    document = worth_json(judged, "text", results)
    assert document["apgr"] == {"value": None, "ci": None}
    assert document["accuracy"] == {"device": 1.0, "cloud": 1.0}


def test_the_oracle_bounds_every_ranking_and_the_interval_is_the_bootstrap(grades):
    """Nothing passes the oracle's curve; the interval agrees with the plain bootstrap of rows."""
    results = made(*grades)
    scores = np.random.default_rng(4).random(60) + results.gain
    judged = judge_rankings({"text": scores} | baselines(results), results, results.ids)
    document = worth_json(judged, "text", results)
    assert min(document["curve"]["regret"]) >= 0
    assert document["oracle"]["apgr"]["value"] >= document["apgr"]["value"]

    def again(rows):
        part = results.rows(rows)
        return float(DeferralCurve.of(scores[rows], part.weak, part.strong).apgr()[0])

    plain = bootstrap(again, results.ids)
    low, high = document["apgr"]["ci"]
    assert (low, high) == pytest.approx((plain.low, plain.high), abs=0.05)


def made(device, cloud):
    count = len(device)
    return Results(
        ids=tuple(map(str, range(count))),
        subjects=("one",) * count,
        prompts=tuple("x" * (row + 1) for row in range(count)),
        weak=np.asarray(device, float),
        strong=np.asarray(cloud, float),
    )
