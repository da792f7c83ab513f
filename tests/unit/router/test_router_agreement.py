"""What a shadow says and a replay tells is what the other policy does by itself: all at random."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_routing import answers, decided, drafts, estimators, facts, policies, prefills

from lanai.errors import NoRoute
from router import (
    AnswerObservation,
    DataClass,
    Destination,
    DeviceState,
    Mode,
    Reason,
    Router,
    Stage,
)
from router.bounds import Bounds, NoBound
from router.circumstances import Circumstances
from router.estimator import AfterAnswer
from router.guarantee import KeepBound
from router.heads import Head, Term
from router.policy_parts import AfterAnswer as LookAfter
from router.policy_parts import Costs, Guarantee
from router.replay import replay
from router.utility import terms_of
from router.vocabulary import Capability, External

FORM = frozenset({Capability.OUTPUT_FORM})
BOUND = KeepBound(
    alpha=0.1,
    delta=0.1,
    threshold=0.1,
    kept=0.5,
    losses=1,
    questions=100,
    ahead=100,
    regret_bound=0.09,
)


def opened(drawn):
    """The same facts, with both sides able; weighing decides, unless consent is assumed by one."""
    roomy = {"context_tokens": 1000, "can": frozenset(Capability)}
    return replace(
        drawn,
        mode=Mode.AUTO,
        data_class=DataClass.PERSONAL,
        consent=None if drawn.consent is None else True,
        found=(),
        external=External.NEVER,
        device=replace(drawn.device, ready=True, model="small", state=DeviceState(), **roomy),
        cloud=replace(
            drawn.cloud,
            configured=True,
            reachable=True,
            verified_nodes=1,
            tokens_left=True,
            model="large",
            **roomy,
        ),
    )


def outcome(router, given_facts, *shown):
    """One request's decision; the reason of the error where there is no route."""
    try:
        return decided(router.begin(given_facts), *shown)
    except NoRoute as error:
        return Reason(error.reason)


drawn_at_random = {
    "drawn": facts,
    "policy": policies(),
    "other": policies(),
    "estimator": estimators,
    "prefill": prefills,
    "draft": drafts,
    "answer": answers,
}


@settings(max_examples=120, deadline=None)
@given(**drawn_at_random)
def test_a_shadow_that_speaks_is_right(drawn, policy, other, estimator, prefill, draft, answer):
    """Destination and reason are those of a router that has its policy alone."""
    given_facts = opened(drawn)
    shown = prefill, draft, answer
    decision = outcome(Router(policy, estimator, shadow=other), given_facts, *shown)
    if isinstance(decision, Reason) or decision.shadow.reason is None:
        return
    alone = outcome(Router(other, estimator), given_facts, *shown)
    said = decision.shadow.destination, decision.shadow.reason
    assert said == (
        (None, alone) if isinstance(alone, Reason) else (alone.destination, alone.reason)
    )


@settings(max_examples=120, deadline=None)
@given(same=st.booleans(), **drawn_at_random)
def test_a_replay_that_tells_is_right(
    drawn, policy, other, estimator, prefill, draft, answer, same
):
    """By the record alone; what a policy would see of a whole answer no record holds."""
    other = policy if same else other
    given_facts = replace(opened(drawn), unseen=False)
    shown = prefill, draft, answer
    decision = outcome(Router(policy, estimator), given_facts, *shown)
    if isinstance(decision, Reason) or estimator is None:
        return
    (found,) = replay([("a" * 32, decision)], other, estimator)
    alone = outcome(Router(other, estimator), given_facts, *shown)
    if isinstance(alone, Reason):
        assert found.no_route
    elif found.now is not None:
        assert found.now is alone.destination


@pytest.fixture
def wanted(make_policy):
    """A policy that wants a bound."""
    return make_policy(guarantee=Guarantee(alpha=0.1))


def test_a_shadow_that_wants_a_bound_is_not_silent(
    wanted, make_facts, make_policy, make_estimator, seen
):
    """Heads that were not found to tell keep everything, but for a policy that wants a bound."""
    estimator = make_estimator(predictive=False, bounds=Bounds(overall=(BOUND,)))
    run = Router(make_policy(), estimator, shadow=wanted).begin(make_facts())
    decision = run.eligibility() or run.prefill(seen(3.0))
    assert decision.destination is Destination.DEVICE
    assert (decision.shadow.destination, decision.shadow.reason) == (
        Destination.CLOUD,
        Reason.LOW_CONFIDENCE,
    )


LATER = Term(signal="answer_surprise", mean=1.0, scale=1.0, weight=-4.0)
DRAFT = Term(signal="draft_entropy", mean=2.0, scale=1.0, weight=-2.0)


def later(*, predictive):
    """Heads over the answer and a draft; the cloud's is flat."""
    return AfterAnswer(
        predictive=predictive,
        device_head=Head(bias=1.0, terms=(LATER, DRAFT)),
        cloud_head=Head(bias=0.4, terms=()),
    )


def answer_of(surprise):
    return AnswerObservation(
        entropy=np.full(4, surprise),
        margin=np.full(4, 0.5),
        top_probability=np.full(4, float(np.exp(-surprise))),
    )


@pytest.fixture
def answered(make_facts, make_policy, make_estimator, seen):
    """A whole answer's decision, kept at prefill."""

    def decide(*, estimator, surprise, **policy):
        policy = {"after_answer": LookAfter(look=True)} | policy
        run = Router(make_policy(**policy), make_estimator(**estimator)).begin(
            make_facts(unseen=True, needs=FORM)
        )
        assert run.eligibility() is None
        assert run.prefill(seen(1.0)) is None
        return run.after_answer(answer_of(surprise))

    return decide


def test_heads_of_an_answer_claim_no_bound_of_the_prefill(answered):
    """Calibrated on other scores: what the prefill could not claim is not claimed later."""
    heads = {"after_answer": later(predictive=True), "bounds": Bounds(overall=(BOUND,))}
    silent, strict = (
        answered(
            estimator={**heads, "predictive": predictive}, surprise=5.0, escalate_above_benefit=-0.1
        )
        for predictive in (False, True)
    )
    assert silent.destination is strict.destination is Destination.CLOUD
    assert (silent.bound.refused, strict.bound.alpha) == (NoBound.LOOSER, BOUND.alpha)


def test_heads_that_do_not_tell_send_no_answer_for_a_bound(answered):
    """The bound is about the prefill's score, which kept this one."""
    decision = answered(
        estimator={
            "after_answer": later(predictive=False),
            "bounds": Bounds(overall=(BOUND,)),
            "predictive": False,
        },
        surprise=9.0,
        guarantee=Guarantee(alpha=0.1),
        escalate_above_benefit=0.5,
    )
    assert (decision.destination, decision.stage) == (Destination.DEVICE, Stage.AFTER_ANSWER)
    assert decision.bound.alpha == BOUND.alpha


def test_a_signal_of_a_stage_that_was_skipped_is_said_to_be_missing(answered):
    """Heads over the answer read a draft's entropy; no draft was looked at."""
    decision = answered(estimator={"after_answer": later(predictive=True)}, surprise=0.5)
    missing = [each.name for each in decision.signals if each.raw is None]
    assert missing == ["draft_entropy"]
    assert "Signal draft_entropy was not measured; the confidence is averaged" in decision.explain()


def test_limits_of_a_draft_hold_without_an_estimator(
    make_facts, make_policy, make_estimator, drafted
):
    """They are the policy's own: another pair of models does not switch them off."""
    other = make_facts(device={"model": "other"})
    policy = make_policy(early_decode_tokens=8, entropy_above=3.0)
    for entropy, destination in ((5.0, Destination.CLOUD), (1.0, Destination.DEVICE)):
        run = Router(policy, make_estimator()).begin(other)
        assert run.eligibility() is None
        assert (run.open, run.needs.statistics) == (Stage.EARLY_DECODE, True)
        assert run.needs.early_decode_tokens == 8
        decision = run.early_decode(drafted(8, entropy=entropy))
        assert (decision.destination, decision.confidence) == (destination, None)
        assert decision.explain()


def test_a_conversation_that_comes_back_is_read_anew_by_the_device():
    """Each side pays for what the other one answered, and nothing for its own."""
    costs = Costs(
        per_second_late=1.0, reread_s_per_1000_tokens=2.0, device_reread_s_per_1000_tokens=30.0
    )
    known = Circumstances(input_tokens=1000, max_output_tokens=1, history_tokens=500)
    late = {
        side: terms_of(costs, 0.0, 0.0, replace(known, session_on=side)).latency
        for side in (None, *Destination)
    }
    assert late == {
        None: 0.0,
        Destination.DEVICE: 1.0,
        Destination.CLOUD: -15.0,
        Destination.EXTERNAL: 1.0 - 15.0,
    }
