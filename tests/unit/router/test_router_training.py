"""Training on arrays whose truth is known: probes, ablation, gates, missing signals, binding."""

import json

import numpy as np
import pytest

from lanai.errors import ConfigError, UsageError
from router import (
    LogisticEstimator,
    MeasuredModel,
    MeasuredPair,
    PrefillObservation,
    Router,
)
from router.evaluation import Outcomes
from router.heads import Head, Term
from router.probe import HiddenProbe
from router.training import Labelled, train

ROWS = 240
PAIR = MeasuredPair(
    device=MeasuredModel(names=("small",), weights_sha256="d" * 64),
    cloud=MeasuredModel(names=("large",), weights_sha256="c" * 64),
)


def labelled(rows=ROWS, seed=0):
    """The hidden state tells which side is good, the first token a little, the rest nothing."""
    random = np.random.default_rng(seed)
    state = random.normal(size=(rows, 12))
    device = random.random(rows) < 1 / (1 + np.exp(-3 * state[:, 0]))
    cloud = random.random(rows) < 1 / (1 + np.exp(3 * state[:, 0]))
    names = ("first_token_entropy", "draft_entropy", "prompt_length")
    columns = {name: random.normal(size=rows) for name in names}
    columns["first_token_entropy"] -= device
    columns["draft_entropy"][::3] = np.nan
    return Labelled(
        columns=columns,
        hidden=state,
        outcomes=Outcomes(
            device_good=device, cloud_good=cloud, groups=[str(r) for r in range(rows)]
        ),
        categories=["even" if row % 2 else "odd" for row in range(rows)],
    )


def fitted(data):
    return train(data, PAIR, quantization="Q4", price=0.05, provenance={"date": "today"})


@pytest.fixture(scope="module")
def trained():
    return fitted(labelled())


def test_the_ablation_shows_which_signal_tells(trained):
    """The hidden state alone picks the side; without it the rest hardly does."""
    table = trained[1]["ablation"]
    assert table["only hidden_state"]["pick"] > 0.85
    assert table["only prompt"]["pick"] < 0.65
    assert table["all"]["pick"] > table["all but hidden_state"]["pick"] + 0.1
    assert len(table) == 11


def test_a_pair_that_can_be_told_apart_is_predictive(trained):
    """All three gates hold, and the figures say so."""
    estimator, figures = trained
    assert figures["predictive"]
    assert estimator.predictive
    assert figures["labels"] == ROWS


def test_noise_is_never_predictive():
    """Grades that no signal knows of: no claim."""
    data = labelled(rows=120)
    random = np.random.default_rng(5)
    blind = Labelled(
        columns=data.columns,
        hidden=random.normal(size=(120, 12)),
        outcomes=Outcomes(
            device_good=random.random(120) < 0.5,
            cloud_good=random.random(120) < 0.5,
            groups=data.outcomes.groups,
        ),
        categories=data.categories,
    )
    assert not fitted(blind)[1]["predictive"]


def test_the_file_is_the_estimator(trained):
    """Written and read again it estimates the same, hidden state and maps included."""
    estimator = trained[0]
    again = LogisticEstimator.parse(json.dumps(estimator.to_json_dict()))
    state = np.full(12, 0.3, dtype=np.float32)
    seen = PrefillObservation(
        input_tokens=9, entropy=1.0, margin=0.2, top_probability=0.5, hidden_state=state
    )
    values = {probe.name: probe.measure(seen) for probe in again.probes}
    assert again.estimate(values) == estimator.estimate(values)
    assert again.calibrate("hidden_device", 1.0) == estimator.calibrate("hidden_device", 1.0)
    assert again.hidden_state


def test_maps_of_another_model_are_refused(trained):
    """A file whose calibration names another device model does not load."""
    value = trained[0].to_json_dict()
    value["isotonic"][0]["model_sha256"] = "f" * 64
    with pytest.raises(ConfigError, match="isotonic"):
        LogisticEstimator.parse(json.dumps(value))


def test_another_pair_of_models_is_not_weighed(trained, make_facts, make_policy):
    """The router asks for the hidden state only where the estimator's hashes are the request's."""
    router = Router(make_policy(), trained[0])
    mine = {"weights_sha256": "d" * 64}, {"weights_sha256": "c" * 64}
    run = router.begin(make_facts(*mine))
    assert run.eligibility() is None
    assert run.needs.hidden_state
    other = router.begin(make_facts({"weights_sha256": "e" * 64}, mine[1]))
    assert other.eligibility().reason == "no_estimator"


def test_a_missing_signal_is_averaged_over_and_said(trained, make_facts, make_policy, seen):
    """Without a hidden state the estimate moves towards a half, and the explanation says so."""
    run = Router(make_policy(), trained[0]).begin(
        make_facts({"weights_sha256": "d" * 64}, {"weights_sha256": "c" * 64})
    )
    run.eligibility()
    decision = run.prefill(seen(1.0))
    assert (
        "hidden_device was not measured; the confidence is averaged over it" in decision.explain()
    )


def test_marginalizing_matches_the_average_over_the_signal():
    """Against the mean of the head over many draws of the missing signal."""
    head = Head(
        bias=1.0,
        terms=(
            Term(signal="here", mean=0.0, scale=1.0, weight=0.5),
            Term(signal="gone", mean=2.0, scale=3.0, weight=2.0),
        ),
    )
    draws = np.random.default_rng(0).normal(2.0, 3.0, 20_000)
    mean = np.mean([head.probability({"here": 1.0, "gone": float(value)}) for value in draws])
    assert head.probability({"here": 1.0}) == pytest.approx(mean, abs=0.01)


def test_a_probe_measures_only_states_of_its_width():
    """Another width, or a number that is none, is a missing signal."""
    data = labelled()
    probe = HiddenProbe.fit("hidden_device", data.hidden, data.outcomes.device_good)

    def seen(state):
        return PrefillObservation(
            input_tokens=1, entropy=1.0, margin=0.1, top_probability=0.5, hidden_state=state
        )

    assert probe.measure(seen(np.zeros(12, np.float32))) is not None
    assert probe.measure(seen(np.zeros(11, np.float32))) is None
    assert probe.measure(seen(np.full(12, np.nan, np.float32))) is None
    assert probe.measure(seen(None)) is None


def test_too_few_questions_are_refused():
    """Twenty groups are the least."""
    with pytest.raises(UsageError, match="at least"):
        fitted(labelled(rows=12))
