"""Facts, policies, estimators and observations at random, for the router's property tests."""

import numpy as np
from hypothesis import strategies as st

from router import (
    AnswerObservation,
    CloudFacts,
    DataClass,
    Decision,
    DecodeObservation,
    Destination,
    DeviceFacts,
    DeviceState,
    LogisticEstimator,
    MeasuredModel,
    MeasuredPair,
    Mode,
    Policy,
    PrefillObservation,
    RequestFacts,
)
from router.bounds import Bounds
from router.circumstances import Standing
from router.estimator import AfterAnswer as EstimatorAfterAnswer
from router.guarantee import KeepBound
from router.heads import Head, Term
from router.policy_parts import AfterAnswer, Budget, Costs, Guarantee, Hedge, Raised, Sessions
from router.routing import RoutingRun
from router.vocabulary import Capability, External, Finding, Stage

__all__ = ["answers", "decided", "drafts", "estimators", "facts", "policies", "prefills"]

finite = st.floats(-50, 50)
tokens = st.integers(0, 400)
names = st.sampled_from(["small", "large", "other"])

capabilities = st.frozensets(st.sampled_from(Capability))
unit = st.none() | st.floats(0, 1)
states = st.builds(
    DeviceState,
    battery=unit,
    charging=st.none() | st.booleans(),
    heat=unit,
    online=st.sampled_from([True, False, None]),
)
standings = st.builds(
    Standing,
    weight=st.none() | st.floats(0, 1e9),
    money_left=st.none() | st.floats(-1e9, 1e9),
    device_s=st.none() | st.floats(0, 1e6),
    cloud_s=st.none() | st.floats(0, 1e6),
    drifted=st.booleans(),
    refuted=st.sampled_from([(), (0.1,), (0.05, 0.1, 0.2)]),
)

facts = st.builds(
    RequestFacts,
    mode=st.sampled_from(Mode),
    data_class=st.sampled_from(DataClass),
    consent=st.sampled_from([True, False, None]),
    input_tokens=tokens,
    max_output_tokens=tokens,
    device=st.builds(
        DeviceFacts,
        ready=st.booleans(),
        context_tokens=tokens,
        model=names,
        can=capabilities,
        state=states,
    ),
    found=st.lists(st.sampled_from(Finding), unique=True, max_size=3).map(tuple),
    needs=capabilities,
    category=st.none() | st.text(max_size=5),
    history_tokens=tokens,
    session_on=st.none() | st.sampled_from(Destination),
    standing=standings,
    unseen=st.booleans(),
    external=st.sampled_from(External),
    external_configured=st.booleans(),
    cloud=st.builds(
        CloudFacts,
        configured=st.booleans(),
        reachable=st.booleans(),
        verified_nodes=st.integers(0, 3),
        tokens_left=st.booleans(),
        context_tokens=tokens,
        model=names | st.none(),
        quota=st.none() | st.integers(0, 9),
        can=capabilities,
    ),
)
costs = st.builds(
    Costs,
    weight=st.floats(1e-3, 1e3),
    money_per_request=st.floats(1e-6, 1e3),
    per_second_late=st.floats(0, 1e3),
    last_token=st.floats(0, 1e3),
    per_joule=st.floats(0, 1e3),
    device_joules_per_token=st.floats(1e-3, 1e3),
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
        raised=Raised(
            by=draw(
                st.dictionaries(
                    st.sampled_from(Finding),
                    st.sampled_from([DataClass.PERSONAL, DataClass.SECRET]),
                )
            )
        ),
        costs=draw(costs),
        budget=draw(st.none() | st.builds(Budget, money_per_day=st.floats(1e-3, 1e3))),
        session=Sessions(escalate_only=draw(st.booleans())),
        hedge=Hedge(within=draw(st.floats(0, 1)) if held_back else 0.0),
        after_answer=AfterAnswer(look=draw(st.booleans()), escalate_invalid=draw(st.booleans())),
        guarantee=draw(st.none() | st.builds(Guarantee, alpha=st.floats(0.01, 0.99))),
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
later_heads = st.builds(
    Head,
    bias=finite,
    terms=st.tuples(
        *(
            st.builds(Term, signal=st.just(name), mean=finite, scale=st.just(1.0), weight=finite)
            for name in ("draft_entropy", "answer_surprise")
        )
    ),
)
bounds = st.builds(
    KeepBound,
    alpha=st.floats(0.01, 0.99),
    delta=st.just(0.1),
    threshold=st.floats(-1, 1),
    kept=st.just(0.5),
    losses=st.just(1),
    questions=st.just(100),
    ahead=st.just(100),
    regret_bound=st.just(0.01),
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
    after_answer=st.none()
    | st.builds(
        EstimatorAfterAnswer,
        predictive=st.booleans(),
        device_head=later_heads,
        cloud_head=later_heads,
    ),
    bounds=st.just(Bounds()) | st.builds(Bounds, overall=st.tuples(bounds)),
)
prefills = st.builds(
    PrefillObservation,
    input_tokens=tokens,
    entropy=st.floats(),
    margin=st.floats(),
    top_probability=st.floats(),
)
drafts = st.lists(st.tuples(st.integers(0, 5), st.floats(), st.floats()), min_size=8, max_size=8)


answers = st.builds(
    AnswerObservation,
    entropy=st.just(np.array([1.0, 2.0])),
    margin=st.just(np.array([0.5, 0.1])),
    top_probability=st.just(np.array([0.9, 0.2])),
    valid=st.booleans(),
)


def decided(run: RoutingRun, prefill, draft, answer) -> Decision:
    """A request's decision after all that its run asks for. Raises ``NoRoute``."""
    decision = run.eligibility()
    if run.open is Stage.PREFILL:
        decision = run.prefill(prefill)
    shown = 0
    while run.open is Stage.EARLY_DECODE:
        shown += 1
        ids, entropy, margin = zip(*draft[:shown], strict=True)
        decision = run.early_decode(
            DecodeObservation(ids=np.array(ids), entropy=np.array(entropy), margin=np.array(margin))
        )
        assert not (run.hedge and decision is not None)
    return run.after_answer(answer) if run.open is Stage.AFTER_ANSWER else decision
