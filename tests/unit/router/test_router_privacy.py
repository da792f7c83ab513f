"""No policy, cost, device state, signal or order of events outweighs a rule: all at random."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_routing import answers, decided, drafts, estimators, facts, policies, prefills

from lanai.errors import NoRoute, RouteError
from router import (
    CloudFacts,
    DataClass,
    Decision,
    Destination,
    DeviceFacts,
    Mode,
    Reason,
    RequestFacts,
    Router,
)
from router.vocabulary import External, Stage


def decisions(router, given_facts, prefill, draft, answer, cause):
    """Every decision one request can be given, the last after a cloud failure."""
    run = router.begin(given_facts)
    try:
        decision = decided(run, prefill, draft, answer)
    except NoRoute:
        return
    yield decision
    if decision.destination is not Destination.DEVICE:
        after = run.fall_back(cause, given_facts)
        if after is not None:
            yield after


def forbidden(given_facts, policy):
    """What must never happen, written down independently of the rules' code."""
    device, cloud = given_facts.device, given_facts.cloud
    wanted = given_facts.input_tokens + given_facts.max_output_tokens
    consent = given_facts.consent
    raised = [policy.raised.by[each] for each in given_facts.found if each in policy.raised.by]
    order = [DataClass.PUBLIC, DataClass.PERSONAL, DataClass.SECRET]
    private = max([given_facts.data_class, *raised], key=order.index)
    assumed = private in policy.consent_assumed_for
    if (
        private is DataClass.SECRET
        or device.state.online is False
        or not given_facts.needs <= cloud.can
        or given_facts.mode is Mode.ONLY_ON_DEVICE
        or consent is False
        or (consent is None and not assumed)
        or not (cloud.configured and cloud.reachable and cloud.verified_nodes)
        or not cloud.tokens_left
        or wanted > cloud.context_tokens
    ):
        yield Destination.CLOUD
    if (
        given_facts.mode is Mode.ONLY_IN_CLOUD
        or not device.ready
        or wanted > device.context_tokens
        or not given_facts.needs <= device.can
    ):
        yield Destination.DEVICE
    if (
        given_facts.external is External.NEVER
        or private is not DataClass.PUBLIC
        or consent is False
        or given_facts.mode in (Mode.ONLY_ON_DEVICE, Mode.ONLY_IN_CLOUD)
        or not given_facts.external_configured
        or device.state.online is False
        or given_facts.needs
    ):
        yield Destination.EXTERNAL


@settings(max_examples=500, deadline=None)
@given(
    given_facts=facts,
    policy=policies(),
    estimator=estimators,
    prefill=prefills,
    draft=drafts,
    answer=answers,
    cause=st.sampled_from([Reason.CLOUD_FAILED, Reason.NO_QUOTA, Reason.EXTERNAL_FAILED]),
)
def test_no_decision_at_any_stage_contradicts_a_rule(
    given_facts, policy, estimator, prefill, draft, answer, cause
):
    """Secret never cloud, only_on_device never cloud, no consent never cloud …, at every stage.

    Outside never unless asked for, with public data alone, and never by weighing. Each decision
    survives its JSON form unchanged, and is sent to one place for a reason.
    """
    never = set(forbidden(given_facts, policy))
    router = Router(policy, estimator)
    seen = list(decisions(router, given_facts, prefill, draft, answer, cause))
    assert bool(seen) is (len(never) < 3)
    for decision in seen:
        assert decision.destination not in never
        assert Decision.from_json_dict(decision.to_json_dict()) == decision
        assert decision.explain()
        if decision.destination is Destination.EXTERNAL:
            assert decision.stage is Stage.ELIGIBILITY
            assert decision.reason in (Reason.EXTERNAL_ASKED, Reason.EXTERNAL_LAST)


@settings(max_examples=200, deadline=None)
@given(given_facts=facts, policy=policies(), estimator=estimators)
def test_no_record_says_outside_without_the_rules_leave(given_facts, policy, estimator):
    """Not by building it, and not by reading it: the verdict must be there, and be a yes."""
    try:
        decision = Router(policy, estimator).begin(given_facts).eligibility()
    except NoRoute:
        return
    if decision is None or decision.destination is Destination.EXTERNAL:
        return
    forged = {**decision.to_json_dict(), "route": "external"}
    asked = given_facts.external is not External.NEVER
    if asked and Destination.EXTERNAL not in set(forbidden(given_facts, policy)):
        return  # the rule's leave is in the record
    with pytest.raises(RouteError):
        Decision.from_json_dict(forged)


@settings(max_examples=200, deadline=None)
@given(policy=policies(), estimator=estimators, prefill=prefills, draft=drafts, answer=answers)
def test_every_request_ends_in_a_decision(policy, estimator, prefill, draft, answer):
    """Whatever the numbers (NaN and infinities too), auto with both sides left ends in one."""
    open_facts = RequestFacts(
        mode=Mode.AUTO,
        data_class=DataClass.PERSONAL,
        consent=True,
        input_tokens=1,
        max_output_tokens=1,
        device=DeviceFacts(ready=True, context_tokens=500, model="small"),
        cloud=CloudFacts(
            configured=True, reachable=True, verified_nodes=1, context_tokens=500, model="large"
        ),
    )
    router = Router(policy, estimator)
    assert next(decisions(router, open_facts, prefill, draft, answer, Reason.CLOUD_FAILED))
