"""No policy, signal or order of events outweighs a rule: facts, policies, numbers at random."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import NoRoute
from router import (
    CloudFacts,
    DataClass,
    Decision,
    DecodeObservation,
    Destination,
    DeviceFacts,
    LogisticEstimator,
    MeasuredModel,
    MeasuredPair,
    Mode,
    Policy,
    PrefillObservation,
    Reason,
    RequestFacts,
    Router,
)
from router.heads import Head, Term

finite = st.floats(-50, 50)
tokens = st.integers(0, 400)
names = st.sampled_from(["small", "large", "other"])

facts = st.builds(
    RequestFacts,
    mode=st.sampled_from(Mode),
    data_class=st.sampled_from(DataClass),
    consent=st.sampled_from([True, False, None]),
    input_tokens=tokens,
    max_output_tokens=tokens,
    device=st.builds(DeviceFacts, ready=st.booleans(), context_tokens=tokens, model=names),
    cloud=st.builds(
        CloudFacts,
        configured=st.booleans(),
        reachable=st.booleans(),
        verified_nodes=st.integers(0, 3),
        tokens_left=st.booleans(),
        context_tokens=tokens,
        model=names | st.none(),
    ),
)


@st.composite
def policies(draw):
    """Any policy that is not refused as contradictory."""
    above = draw(st.floats(-1, 1))
    held_back = draw(st.sampled_from([0, 4, 8]))
    trips = {
        "entropy_above": draw(st.floats(0, 5)),
        "margin_below": draw(st.none() | st.floats(0, 1)),
        "repetition_above": draw(st.none() | st.floats(0, 1)),
    }
    return Policy(
        consent_assumed_for=draw(
            st.frozensets(st.sampled_from([DataClass.PUBLIC, DataClass.PERSONAL]))
        ),
        escalate_above_benefit=above,
        early_decode_tokens=held_back,
        early_decode_window=4,
        look_from_benefit=draw(st.floats(-1, above)),
        **(trips if held_back else {}),
    )


heads = st.builds(
    Head,
    bias=finite,
    terms=st.tuples(
        st.builds(
            Term,
            signal=st.just("first_token_entropy"),
            mean=finite,
            scale=st.just(1.0),
            weight=finite,
        )
    ),
)
estimators = st.none() | st.builds(
    LogisticEstimator,
    pair=st.just(
        MeasuredPair(
            device=MeasuredModel(names=("small",), weights_sha256="d"),
            cloud=MeasuredModel(names=("large",), weights_sha256="c"),
        )
    ),
    predictive=st.booleans(),
    device_head=heads,
    cloud_head=heads,
    alone=st.just({}),
    measurement=st.just({}),
    digest=st.just("e"),
)
prefills = st.builds(
    PrefillObservation,
    input_tokens=tokens,
    entropy=st.floats(),
    margin=st.floats(),
    top_probability=st.floats(),
)
drafts = st.lists(st.tuples(st.integers(0, 5), st.floats(), st.floats()), min_size=8, max_size=8)


def decisions(router, given_facts, prefill, draft, cause):
    """Every decision one request can be given, the last after a cloud failure."""
    run = router.begin(given_facts)
    try:
        decision = run.eligibility()
    except NoRoute:
        return
    if decision is None:
        decision = run.prefill(prefill)
    shown = 0
    while decision is None:
        shown += 1
        ids, entropy, margin = zip(*draft[:shown], strict=True)
        decision = run.early_decode(
            DecodeObservation(ids=np.array(ids), entropy=np.array(entropy), margin=np.array(margin))
        )
    yield decision
    if decision.destination is Destination.CLOUD:
        after = run.fall_back(cause, given_facts)
        if after is not None:
            yield after


def forbidden(given_facts, policy):
    """What must never happen, written down independently of the rules' code."""
    device, cloud = given_facts.device, given_facts.cloud
    wanted = given_facts.input_tokens + given_facts.max_output_tokens
    consent = given_facts.consent
    assumed = given_facts.data_class in policy.consent_assumed_for
    if (
        given_facts.data_class is DataClass.SECRET
        or given_facts.mode is Mode.ONLY_ON_DEVICE
        or consent is False
        or (consent is None and not assumed)
        or not (cloud.configured and cloud.reachable and cloud.verified_nodes)
        or not cloud.tokens_left
        or wanted > cloud.context_tokens
    ):
        yield Destination.CLOUD
    if given_facts.mode is Mode.ONLY_IN_CLOUD or not device.ready or wanted > device.context_tokens:
        yield Destination.DEVICE


@settings(max_examples=500, deadline=None)
@given(
    given_facts=facts,
    policy=policies(),
    estimator=estimators,
    prefill=prefills,
    draft=drafts,
    cause=st.sampled_from([Reason.CLOUD_FAILED, Reason.NO_QUOTA]),
)
def test_no_decision_at_any_stage_contradicts_a_rule(
    given_facts, policy, estimator, prefill, draft, cause
):
    """Secret never cloud, only_on_device never cloud, no consent never cloud …, at every stage.

    And each decision survives its JSON form unchanged, and is sent to one place for a reason.
    """
    never = set(forbidden(given_facts, policy))
    seen = list(decisions(Router(policy, estimator), given_facts, prefill, draft, cause))
    assert bool(seen) is (len(never) < 2)
    for decision in seen:
        assert decision.destination not in never
        assert Decision.from_json_dict(decision.to_json_dict()) == decision
        assert decision.explain()


@settings(max_examples=200, deadline=None)
@given(policy=policies(), estimator=estimators, prefill=prefills, draft=drafts)
def test_every_request_ends_in_a_decision(policy, estimator, prefill, draft):
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
    assert next(decisions(router, open_facts, prefill, draft, Reason.CLOUD_FAILED))
