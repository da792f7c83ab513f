"""Stored forms: the Decision and the estimator, strict both ways."""

import json
import subprocess
import sys

import pytest

import router
from lanai.errors import ConfigError, RouteError
from router import Decision, LogisticEstimator, Reason, Router, shipped_estimator


@pytest.fixture
def decision(make_facts, make_policy, make_estimator, seen):
    run = Router(make_policy(), make_estimator()).begin(make_facts())
    run.eligibility()
    return run.prefill(seen(3.0))


def test_a_decision_comes_back_from_json_as_it_was(decision):
    """Through text, every field is equal."""
    text = json.dumps(decision.to_json_dict(), allow_nan=False)
    assert Decision.from_json_dict(json.loads(text)) == decision


def test_json_has_the_keys_commands_print(decision):
    """The contract's keys are there, the destination under ``route``."""
    stored = decision.to_json_dict()
    contract = {"route", "stage", "reason", "confidence", "threshold", "counterfactual", "signals"}
    assert contract <= stored.keys()
    assert stored["route"] == "cloud"


@pytest.mark.parametrize("key", ["route", "rules", "signals", "decision_us", "estimator_digest"])
def test_a_stored_decision_without_a_key_is_refused(decision, key):
    """By name."""
    stored = decision.to_json_dict()
    del stored[key]
    with pytest.raises(RouteError, match=key):
        Decision.from_json_dict(stored)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reason", "felt_like_it"),
        ("route", None),
        ("confidence", "high"),
        ("confidence", float("nan")),
        ("decision_us", True),
        ("rules", [{}]),
        ("signals", 3),
        ("prompt", "text"),
    ],
)
def test_a_stored_decision_with_a_strange_value_is_refused(decision, key, value):
    """Closed words stay closed, numbers finite, and no key rides along."""
    with pytest.raises(RouteError, match=key):
        Decision.from_json_dict(decision.to_json_dict() | {key: value})


def test_explanations_tell_rules_signals_and_numbers(decision):
    """Sentences carry the reason, both numbers, every signal and what would have changed it."""
    text = decision.explain()
    assert "in the cloud" in text
    assert "0.27" in text
    assert "threshold: 0.50" in text
    assert all(reading.name in text for reading in decision.signals)
    assert decision.counterfactual in text


def test_every_reason_can_be_explained(decision):
    """A new word cannot be added without its sentence."""
    for reason in Reason:
        stored = decision.to_json_dict() | {"reason": reason.value}
        assert Decision.from_json_dict(stored).explain()


def test_an_estimator_comes_back_from_json_as_it_was(make_estimator):
    """Heads, pair and provenance survive; the digest is of the content."""
    estimator = make_estimator(measurement={"questions": 3})
    text = json.dumps(estimator.to_json_dict())
    back = LogisticEstimator.parse(text)
    assert back == estimator
    assert back.digest != LogisticEstimator.parse(text.replace("3}", "4}")).digest


@pytest.mark.parametrize(
    ("key", "value"),
    [("schema", "lanai.estimator/9"), ("predictive", "yes"), ("pair", {}), ("extra", 1)],
)
def test_a_strange_estimator_is_refused(make_estimator, key, value):
    """Names the key, whether it is unknown, missing inside or of another type."""
    stored = make_estimator().to_json_dict() | {key: value}
    with pytest.raises(ConfigError):
        LogisticEstimator.parse(json.dumps(stored))


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000, "{", "null"])
def test_a_text_that_is_no_estimator_is_a_configuration_error(text):
    """However deep or long."""
    with pytest.raises(ConfigError):
        LogisticEstimator.parse(text)


def test_a_weight_beyond_all_measure_is_refused(make_estimator):
    """Its square would be no number when the signal is missing."""
    stored = make_estimator().to_json_dict()
    stored["device_head"]["terms"][0]["weight"] = 1e200
    with pytest.raises(ConfigError, match=r"device_head\.terms\[0\]\.weight"):
        LogisticEstimator.parse(json.dumps(stored))


def test_the_shipped_estimator_is_of_the_default_pair():
    """It loads, was really measured, and names both models with their digests."""
    estimator = shipped_estimator()
    assert "gemma-3-270m" in estimator.pair.cloud.names
    assert "smollm2-135m-instruct" in estimator.pair.device.names
    assert all(
        len(model.weights_sha256) == 64 for model in (estimator.pair.device, estimator.pair.cloud)
    )
    assert estimator.measurement["labels"] >= 300


def test_public_names_are_sorted_and_present():
    """``router`` exports exactly what it lists."""
    assert router.__all__ == sorted(router.__all__)
    assert all(hasattr(router, name) for name in router.__all__)


def test_importing_the_router_loads_no_heavy_module():
    """Neither torch, sklearn, grpc nor a validation library is needed to decide."""
    code = (
        "import sys, router; router.Router.standard();"
        "print([m for m in ('torch','sklearn','scipy','grpc','pydantic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
