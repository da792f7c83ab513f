"""Stages 1 and 2, falling back, and what the router asks for."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lanai.errors import RouteError, UsageError
from router import Decision, DecodeObservation, Destination, Mode, Reason, Router, Stage
from router.decision import RuleVerdict


@pytest.fixture
def opened(make_facts, make_policy, make_estimator):
    """A run that is waiting for its prefill, under a policy and estimator with changes."""

    def run(estimator=None, facts=None, **policy):
        begun = Router(make_policy(**policy), make_estimator(**(estimator or {}))).begin(
            facts or make_facts()
        )
        assert begun.eligibility() is None
        return begun

    return run


def test_low_confidence_goes_to_the_cloud(opened, seen):
    """Confidence below P(cloud good) less the asked benefit escalates, with the number to beat."""
    decision = opened().prefill(seen(3.0))
    assert (decision.destination, decision.reason) == (Destination.CLOUD, Reason.LOW_CONFIDENCE)
    assert decision.stage is Stage.PREFILL
    assert decision.confidence == pytest.approx(1 / (1 + math.e))
    assert decision.threshold == pytest.approx(0.5)
    assert decision.counterfactual == "would have stayed on the device at confidence 0.50 or above"


def test_high_confidence_stays(opened, seen):
    """Confidence above the threshold stays, and the record says what would escalate."""
    decision = opened().prefill(seen(1.0))
    assert (decision.destination, decision.reason) == (Destination.DEVICE, Reason.CONFIDENT)
    assert decision.counterfactual == "would go to the cloud at confidence below 0.50"


def test_the_threshold_itself_stays(opened, seen):
    """Only confidence below the threshold leaves the device."""
    run = opened(escalate_above_benefit=0.6 - 0.5)
    assert run.prefill(seen(2.0)).destination is Destination.DEVICE


def test_a_price_no_cloud_can_meet_is_said(opened, seen):
    """Where the asked benefit exceeds the cloud's own chance, no confidence is quoted."""
    decision = opened(escalate_above_benefit=0.9).prefill(seen(9.0))
    assert decision.destination is Destination.DEVICE
    assert "at any confidence" in decision.counterfactual


def test_signals_are_recorded_with_value_calibration_and_cost(
    make_facts, make_policy, make_estimator, seen
):
    """Each signal's raw value, its worth alone where fitted, and its time stand in the record."""
    ticks = iter(range(0, 10**9, 1000))
    router = Router(make_policy(), make_estimator(), clock=lambda: next(ticks))
    run = router.begin(make_facts())
    run.eligibility()
    decision = run.prefill(seen(3.0))
    readings = {reading.name: reading for reading in decision.signals}
    assert readings["first_token_entropy"].raw == 3.0
    assert readings["first_token_entropy"].calibrated == pytest.approx(decision.confidence)
    assert readings["prompt_length"].calibrated is None
    assert readings["first_token_surprise"].raw == pytest.approx(math.log(2))
    assert all(reading.cost_us == 1.0 for reading in decision.signals)
    assert decision.decision_us > sum(reading.cost_us for reading in decision.signals)


def test_a_signal_that_is_missing_counts_as_average_and_shows(opened, seen):
    """A number the engine could not give moves nothing, and the record says it was not there."""
    decision = opened().prefill(seen(math.nan))
    assert decision.confidence == pytest.approx(0.5)
    assert decision.signals[0].raw is None
    assert "was not measured" in decision.explain()


def test_signals_without_value_keep_the_device(opened, seen):
    """An estimator measured to predict nothing never escalates, whatever the signals say."""
    decision = opened(estimator={"predictive": False}).prefill(seen(20.0))
    assert (decision.destination, decision.reason) == (Destination.DEVICE, Reason.NOT_PREDICTIVE)
    assert decision.threshold is None
    assert decision.confidence is not None


@pytest.mark.parametrize(
    "models",
    [
        {"device": {"model": "other"}},
        {"cloud": {"model": None}},
        {"device": {"weights_sha256": "0" * 64}},
        {"cloud": {"weights_sha256": "0" * 64}},
    ],
)
def test_another_pair_of_models_is_refused(make_facts, make_policy, make_estimator, models):
    """By name, and by hash also under the right name: then rules alone decide."""
    run = Router(make_policy(), make_estimator()).begin(make_facts(**models))
    decision = run.eligibility()
    assert (decision.destination, decision.reason) == (Destination.DEVICE, Reason.NO_ESTIMATOR)
    assert decision.confidence is None
    assert decision.estimator_digest is None


def test_the_same_weights_under_another_name_are_the_same_model(
    make_facts, make_policy, make_estimator
):
    """A hash that matches outweighs a folder that was renamed."""
    facts = make_facts(device={"model": "my-copy", "weights_sha256": "d" * 64})
    assert Router(make_policy(), make_estimator()).begin(facts).eligibility() is None


def test_a_cloud_of_the_same_name_is_matched_by_its_folder(make_facts, make_policy, make_estimator):
    """As verified releases name it; by name alone only where the estimator has no such digest."""
    plain = make_estimator()
    cloud = replace(plain.pair.cloud, folder_sha256="f" * 64)
    estimator = replace(plain, pair=replace(plain.pair, cloud=cloud))
    router = Router(make_policy(), estimator)
    assert router.begin(make_facts(cloud={"folder_sha256": "f" * 64})).eligibility() is None
    other = router.begin(make_facts(cloud={"folder_sha256": "0" * 64})).eligibility()
    assert (other.reason, other.models.cloud_sha256) == (Reason.NO_ESTIMATOR, "0" * 64)
    older = Router(make_policy(), plain)
    assert older.begin(make_facts(cloud={"folder_sha256": "0" * 64})).eligibility() is None


def test_needs_are_asked_only_while_a_stage_is_open(opened, seen):
    """The engine computes statistics only where the router will look at them."""
    run = opened(early_decode_tokens=8, entropy_above=2.0)
    assert (run.needs.statistics, run.needs.early_decode_tokens) == (True, 8)
    assert run.needs.hidden_state is False
    assert run.prefill(seen(1.0)) is None
    assert run.needs.early_decode_tokens == 8


def test_a_draft_that_stays_calm_is_the_devices(opened, seen, drafted):
    """Early decode asks for more until its last token and then decides."""
    run = opened(early_decode_tokens=8, entropy_above=2.0)
    assert run.prefill(seen(1.0)) is None
    assert run.early_decode(drafted(3)) is None
    assert run.early_decode(drafted(7)) is None
    decision = run.early_decode(drafted(8))
    assert (decision.destination, decision.stage) == (Destination.DEVICE, Stage.EARLY_DECODE)
    assert {"first_token_entropy", "draft_entropy"} <= {r.name for r in decision.signals}
    assert not run.needs.statistics


def test_a_finished_draft_decides_at_once(opened, seen, drafted):
    """An answer shorter than the window is judged by all it has."""
    run = opened(early_decode_tokens=8, entropy_above=2.0)
    run.prefill(seen(1.0))
    assert run.early_decode(drafted(2, finished=True)).destination is Destination.DEVICE


@pytest.mark.parametrize(
    ("limit", "draft"),
    [({"entropy_above": 2.0}, {"entropy": 3.0}), ({"margin_below": 0.3}, {"margin": 0.1})],
)
def test_an_uncertain_draft_trips(opened, seen, drafted, limit, draft):
    """A full window beyond the policy's limit sends the request to the cloud, with both numbers."""
    run = opened(early_decode_tokens=8, **limit)
    run.prefill(seen(1.0))
    assert run.early_decode(drafted(3, **draft)) is None
    decision = run.early_decode(drafted(4, **draft))
    assert (decision.destination, decision.reason) == (
        Destination.CLOUD,
        Reason.EARLY_DECODE_TRIPPED,
    )
    assert f"{next(iter(limit.values())):.2f}" in decision.counterfactual
    assert f"{next(iter(draft.values())):.2f}" in decision.counterfactual


def test_a_draft_that_repeats_itself_trips(opened, seen):
    """Runs of tokens that stood in the draft before count as repetition."""
    run = opened(early_decode_tokens=12, repetition_above=0.5)
    run.prefill(seen(1.0))
    ids = np.array([5, 6, 7] * 4, dtype=np.int64)
    calm = np.zeros(12)
    decision = run.early_decode(DecodeObservation(ids=ids, entropy=calm, margin=calm + 1))
    assert decision.reason is Reason.EARLY_DECODE_TRIPPED


def test_the_worst_window_counts_however_often_one_asks(opened, seen):
    """A spike in the middle trips the same when the draft is shown in one piece."""
    run = opened(early_decode_tokens=12, entropy_above=2.0)
    run.prefill(seen(1.0))
    entropy = np.array([0.0] * 4 + [9.0] * 4 + [0.0] * 4)
    draft = DecodeObservation(
        ids=np.arange(12, dtype=np.int64), entropy=entropy, margin=np.ones(12)
    )
    assert run.early_decode(draft).destination is Destination.CLOUD


def test_a_draft_is_looked_at_only_from_the_policys_benefit(opened, seen):
    """Where the prefill is sure enough, no draft is held back."""
    changes = {"early_decode_tokens": 8, "entropy_above": 2.0, "look_from_benefit": -0.2}
    assert opened(**changes).prefill(seen(0.5)).stage is Stage.PREFILL
    assert opened(**changes).prefill(seen(2.0)) is None


def test_falling_back_needs_a_cloud_that_failed(opened, seen, make_facts):
    """A request that stayed on the device has nothing to fall back from."""
    run = opened()
    run.prefill(seen(1.0))
    with pytest.raises(UsageError):
        run.fall_back(Reason.CLOUD_FAILED, make_facts())


def test_falling_back_to_the_device_says_so(opened, seen, make_facts):
    """After the cloud failed, the device answers, and the record keeps the earlier confidence."""
    run = opened()
    tried = run.prefill(seen(3.0))
    decision = run.fall_back(Reason.CLOUD_UNREACHABLE, make_facts(cloud={"reachable": False}))
    assert (decision.destination, decision.stage) == (Destination.DEVICE, Stage.FALLBACK)
    assert decision.reason is Reason.CLOUD_UNREACHABLE
    assert decision.confidence == tried.confidence


def test_no_falling_back_where_rules_forbid_the_device(make_facts, make_policy):
    """only_in_cloud does not turn into the device because the cloud failed."""
    facts = make_facts(mode=Mode.ONLY_IN_CLOUD)
    run = Router(make_policy()).begin(facts)
    run.eligibility()
    assert run.fall_back(Reason.CLOUD_FAILED, facts) is None


def test_a_fallback_cause_is_a_cloud_failure(make_facts, make_policy):
    """Other reasons are no excuse to change the source."""
    facts = make_facts(mode=Mode.PREFER_IN_CLOUD)
    run = Router(make_policy()).begin(facts)
    run.eligibility()
    with pytest.raises(UsageError):
        run.fall_back(Reason.LOW_CONFIDENCE, facts)


def test_stages_out_of_order_are_refused(opened, seen, drafted):
    """A stage that is not open, or was decided, cannot be asked again."""
    run = opened()
    with pytest.raises(UsageError):
        run.early_decode(drafted(4))
    run.prefill(seen(1.0))
    with pytest.raises(UsageError):
        run.prefill(seen(1.0))
    with pytest.raises(UsageError):
        run.eligibility()


def test_a_decision_against_its_own_rules_cannot_be_built(opened, seen):
    """Not from code, and not from a stored record that was changed."""
    decision = opened().prefill(seen(3.0))
    stored = decision.to_json_dict()
    stored["rules"].append(
        RuleVerdict(
            name="data_class", allows_device=True, allows_cloud=False, reason=Reason.DATA_SECRET
        ).to_json_dict()
    )
    with pytest.raises(RouteError, match="data_class"):
        Decision.from_json_dict(stored)
