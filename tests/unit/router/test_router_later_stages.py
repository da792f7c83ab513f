"""Conversations that stay, answers that are looked at whole, calls that are opened ahead."""

import numpy as np
import pytest

from router import AnswerObservation, Destination, Reason, Router, Stage
from router.circumstances import Standing
from router.estimator import AfterAnswer
from router.heads import Head, Term
from router.policy_parts import AfterAnswer as LookAfter
from router.policy_parts import Budget, Costs, Hedge, Raised, Sessions
from router.vocabulary import Capability, DataClass, Finding

FORM = frozenset({Capability.OUTPUT_FORM})


def answered(surprise: float = 0.1, *, valid: bool = True, tokens: int = 4) -> AnswerObservation:
    """A whole answer with one likelihood throughout."""
    return AnswerObservation(
        entropy=np.full(tokens, surprise),
        margin=np.full(tokens, 0.5),
        top_probability=np.full(tokens, float(np.exp(-surprise))),
        valid=valid,
    )


@pytest.fixture
def opened(make_facts, make_policy, make_estimator, seen):
    """A run after its prefill, for an answer that nobody sees before its end."""

    def run(facts=None, estimator=None, entropy=1.0, **policy):
        policy = {"after_answer": LookAfter(look=True)} | policy
        begun = Router(make_policy(**policy), make_estimator(**(estimator or {}))).begin(
            make_facts(**{"unseen": True, "needs": FORM} | (facts or {}))
        )
        assert begun.eligibility() is None
        begun.prefill(seen(entropy))
        return begun

    return run


def test_an_invalid_answer_goes_to_the_cloud_unseen(opened):
    """Stage 3: the request's own validators decide."""
    run = opened()
    assert (run.open, run.needs.whole_answer) == (Stage.AFTER_ANSWER, True)
    decision = run.after_answer(answered(valid=False))
    assert (decision.destination, decision.reason) == (Destination.CLOUD, Reason.ANSWER_INVALID)
    assert decision.stage is Stage.AFTER_ANSWER


def test_a_valid_answer_stays(opened):
    """With the confidence of the prefill, where the estimator has no heads for this stage."""
    decision = opened().after_answer(answered())
    assert (decision.destination, decision.reason) == (Destination.DEVICE, Reason.CONFIDENT)
    assert {"answer_surprise", "answer_length"} <= {each.name for each in decision.signals}


@pytest.mark.parametrize(
    ("facts", "policy"),
    [
        ({"unseen": False}, {}),
        ({"needs": frozenset()}, {}),
        ({}, {"after_answer": LookAfter(look=False)}),
    ],
)
def test_an_answer_is_looked_at_only_where_that_can_matter(opened, facts, policy):
    """Not while it streams, not without a form or heads, not where the policy does not look."""
    assert opened(facts, **policy).open is None


def test_an_invalid_answer_stays_where_the_policy_says_so(opened):
    """Or where the day's money is spent."""
    look = LookAfter(look=True, escalate_invalid=False)
    decision = opened(after_answer=look).after_answer(answered(valid=False))
    assert decision.destination is Destination.DEVICE
    run = opened(
        {"standing": Standing(money_left=0.0)},
        costs=Costs(money_per_request=1.0),
        budget=Budget(money_per_day=1.0),
    )
    assert run.after_answer(answered(valid=False)).destination is Destination.DEVICE


def test_heads_over_the_answer_decide_where_they_were_found_to_tell(opened):
    """A surprising answer falls below the threshold; the record has both stages' signals."""
    surprise = Term(signal="answer_surprise", mean=0.5, scale=0.1, weight=-1.0)
    heads = AfterAnswer(
        predictive=True,
        device_head=Head(bias=0.0, terms=(surprise,)),
        cloud_head=Head(bias=0.0, terms=()),
    )
    facts, estimator = {"needs": frozenset()}, {"after_answer": heads}
    sent = opened(facts, estimator).after_answer(answered(3.0))
    assert (sent.destination, sent.reason) == (Destination.CLOUD, Reason.LOW_CONFIDENCE)
    assert sent.confidence < 0.01
    kept = opened(facts, estimator).after_answer(answered(0.1))
    assert kept.destination is Destination.DEVICE


def test_without_an_estimator_the_validators_still_judge(make_facts, make_policy):
    """The prefill is not looked at; the form is."""
    policy = make_policy(after_answer=LookAfter(look=True))
    run = Router(policy).begin(make_facts(unseen=True, needs=FORM))
    assert run.eligibility() is None
    assert (run.open, run.needs.statistics) == (Stage.AFTER_ANSWER, False)
    assert run.after_answer(answered(valid=False)).reason is Reason.ANSWER_INVALID


def test_a_conversation_in_the_cloud_stays_there(make_facts, make_policy, make_estimator):
    """Escalate-only by default; not where the policy says otherwise, and never against a rule."""
    facts = {"session_on": Destination.CLOUD}
    sticky = Router(make_policy(), make_estimator())
    decision = sticky.begin(make_facts(**facts)).eligibility()
    assert (decision.destination, decision.reason) == (
        Destination.CLOUD,
        Reason.SESSION_ESCALATED,
    )
    free = Router(make_policy(session=Sessions(escalate_only=False)), make_estimator())
    assert free.begin(make_facts(**facts)).eligibility() is None
    secret = make_facts(data_class=DataClass.SECRET, **facts)
    assert sticky.begin(secret).eligibility().reason is Reason.DATA_SECRET


def test_a_conversation_on_the_device_may_leave(make_facts, make_policy, make_estimator):
    """Only one direction is held."""
    run = Router(make_policy(), make_estimator()).begin(make_facts(session_on=Destination.DEVICE))
    assert run.eligibility() is None


def test_a_call_is_opened_ahead_only_where_it_is_close(opened):
    """Near the price, and only while a later stage may still send the request."""
    near, far = opened(entropy=1.6, hedge=Hedge(within=0.2)), opened(hedge=Hedge(within=0.05))
    assert (near.hedge, far.hedge, opened(entropy=1.6).hedge) == (True, False, False)
    near.hedged()
    decision = near.after_answer(answered())
    assert decision.hedged is True
    assert near.hedge is False


@pytest.mark.parametrize("found", [(Finding.CARD,), (Finding.NAME, Finding.CARD)])
def test_a_finding_raises_the_class_and_says_so(make_facts, make_policy, make_estimator, found):
    """A card makes a personal request secret; the record has what was said and what was found."""
    policy = make_policy(raised=Raised(by={Finding.CARD: DataClass.SECRET}))
    facts = make_facts(found=found, detector_us=70.0)
    decision = Router(policy, make_estimator()).begin(facts).eligibility()
    assert decision.reason is Reason.DATA_SECRET
    assert (decision.asked.data_class, decision.asked.found) == (DataClass.PERSONAL, found)
    assert "A detector on the device found:" in decision.explain()


@pytest.mark.parametrize("said", DataClass)
@pytest.mark.parametrize("by", [DataClass.PERSONAL, DataClass.SECRET])
def test_a_finding_never_lowers(said, by):
    """Whatever was said stays, or becomes more private."""
    order = list(DataClass)
    raised = Raised(by={Finding.NAME: by}).raised(said, (Finding.NAME,))
    assert order.index(raised) >= max(order.index(said), order.index(by))
    assert Raised(by={Finding.NAME: by}).raised(said, (Finding.CARD,)) is said
