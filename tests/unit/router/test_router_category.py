"""The app's word for a kind of request, as a signal of the heads that decide at prefill."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from lanai.errors import ConfigError
from router import LogisticEstimator, MeasuredModel, MeasuredPair, Router
from router.category import MOST, CategoryPrior
from router.evaluation import Outcomes
from router.training import Labelled, train

ROWS = 240
PAIR = MeasuredPair(
    device=MeasuredModel(names=("small",), weights_sha256="d" * 64),
    cloud=MeasuredModel(names=("large",), weights_sha256="c" * 64),
)
MINE = {"weights_sha256": "d" * 64}, {"weights_sha256": "c" * 64}


def told_by_kind(tell: float) -> Labelled:
    """Sums are for the cloud and names for the device; the entropy tells ``tell`` of it, too."""
    random = np.random.default_rng(0)
    sums = np.arange(ROWS) % 2 == 0
    device = random.random(ROWS) < np.where(sums, 0.1, 0.8)
    cloud = random.random(ROWS) < np.where(sums, 0.8, 0.4)
    return Labelled(
        columns={"first_token_entropy": tell * sums + random.normal(size=ROWS)},
        hidden=None,
        outcomes=Outcomes(
            device_good=device, cloud_good=cloud, groups=[str(row) for row in range(ROWS)]
        ),
        categories=["sums" if each else "names" for each in sums],
    )


@pytest.fixture(scope="module")
def trained():
    return train(told_by_kind(1.0), PAIR, quantization="Q4", price=0.05, provenance={})


def run_of(estimator, facts, policy, observation):
    run = Router(policy, estimator).begin(facts)
    assert run.eligibility() is None
    return run.prefill(observation)


def test_a_kind_that_the_cloud_answers_better_leaves(trained, make_facts, make_policy, seen):
    """The same prefill goes to the cloud as a sum and stays as a name; both words are recorded.

    Of kinds left out it tells nothing, so that it may not claim to be predictive by itself.
    """
    assert not trained[0].predictive
    estimator = replace(trained[0], predictive=True)
    went = {}
    for word in ("sums", "names"):
        decision = run_of(estimator, make_facts(*MINE, category=word), make_policy(), seen(1.0))
        went[word] = decision.destination
        assert decision.asked.category == word
        read = {reading.name: reading for reading in decision.signals}
        assert read["category_device"].raw is not None
        assert 0 <= read["category_device"].calibrated <= 1
    assert went == {"sums": "cloud", "names": "device"}


def test_without_a_word_the_heads_know_nothing_else_less(trained, make_facts, make_policy, seen):
    """Not named, or a word nobody measured: the signal is missing, said, and not recorded; the
    estimate stays near that of an estimator trained without kinds."""
    plain = told_by_kind(1.0)
    blind = train(
        Labelled(
            columns=plain.columns,
            hidden=None,
            outcomes=plain.outcomes,
            categories=[""] * ROWS,
        ),
        PAIR,
        quantization="Q4",
        price=0.05,
        provenance={},
    )[0]
    assert blind.categories == ()
    for word in (None, "my secret plan"):
        for entropy in (-1.0, 0.5, 2.0):
            facts = make_facts(*MINE, category=word)
            decision = run_of(trained[0], facts, make_policy(), seen(entropy))
            other = run_of(blind, facts, make_policy(), seen(entropy))
            assert decision.confidence == pytest.approx(other.confidence, abs=0.12)
            assert decision.asked.category is None
            assert "category_device was not measured" in decision.explain()
            assert "my secret plan" not in json.dumps(decision.to_json_dict())


def test_the_ablation_holds_the_kind(trained):
    """Alone it picks the better side here."""
    assert trained[1]["ablation"]["only category"]["pick"] > 0.8
    assert trained[1]["auroc"]["pick"] > trained[1]["ablation"]["all but category"]["pick"]


def test_priors_are_read_back_and_checked(trained):
    """The file is the estimator; one that is damaged is refused by its key."""
    value = trained[0].to_json_dict()
    again = LogisticEstimator.parse(json.dumps(value))
    assert again.categories == trained[0].categories
    assert again.known("sums") == "sums"
    assert again.known("other") is None
    for wrong in ({}, {"sums": "much"}, {str(n): 0.0 for n in range(MOST + 1)}):
        value["categories"][0]["logits"] = wrong
        with pytest.raises(ConfigError, match="logits"):
            LogisticEstimator.parse(json.dumps(value))


def test_a_kind_seen_seldom_is_drawn_to_the_rate_of_all():
    """One question says little; one side that is always right stays finite."""
    good = np.array([True] * 20 + [False] * 20 + [True])
    words = ["a"] * 20 + ["b"] * 20 + ["rare"]
    (prior,) = CategoryPrior.fit_all({"category_device": good}, words)
    assert prior.logits["b"] < 0 < prior.logits["rare"] < prior.logits["a"] < 5
    assert np.isnan(prior.column(["never"])).all()
    (always,) = CategoryPrior.fit_all({"x": np.ones(41, bool)}, words)
    assert all(math.isfinite(value) for value in always.logits.values())


def test_one_kind_is_none():
    """Where all questions are of one kind, or of none, there is nothing to tell."""
    good = np.array([True, False])
    assert CategoryPrior.fit_all({"x": good}, ["a", "a"]) == ()
    assert CategoryPrior.fit_all({"x": good}, ["", "a"]) == ()
