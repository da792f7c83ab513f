"""Replaying decisions: the same policy changes nothing, another one what it says."""

import dataclasses
import json

import pytest
from stored_spans import root_span

from device_agent.retention import DAY, read_clocks
from device_agent.traces import TraceStore, traces_path
from lanai.cli.mount import run
from lanai.folders import Folders
from router import DataClass, Mode, Router
from router.policy_parts import Costs
from router.recorded import Realized
from router.replay import replay, summary


@pytest.fixture
def decided(make_facts, make_policy, make_estimator, seen):
    """Twenty weighed decisions, from sure to unsure, and one that a rule made."""
    router = Router(make_policy(), make_estimator())

    def weigh(entropy):
        routing = router.begin(make_facts())
        routing.eligibility()
        return routing.prefill(seen(entropy))

    stored = [(f"{row:032x}", weigh(row / 5)) for row in range(1, 21)]
    secret = router.begin(make_facts(data_class=DataClass.SECRET)).eligibility()
    return [*stored, ("f" * 32, secret)]


def test_the_same_policy_changes_nothing(decided, make_policy, make_estimator):
    """Every decision comes out as it fell, from its own record."""
    found = summary(replay(decided, make_policy(), make_estimator()))
    assert found["changed"] == []
    assert found["cloud_before"] == found["cloud_after"] > 0
    assert found["not_replayed"] == 0


def test_a_dearer_cloud_is_asked_less(decided, make_policy, make_estimator):
    """A higher price moves decisions to the device only; the rule's decision stays."""
    dear = make_policy(escalate_above_benefit=0.4)
    found = summary(replay(decided, dear, make_estimator()))
    assert {each["now"] for each in found["changed"]} == {"device"}
    assert found["cloud_after"] < found["cloud_before"]
    assert found["expected_gain"] < 0


def test_what_cannot_be_told_is_not_guessed(decided, make_policy, make_estimator):
    """Another estimator's weighing, or a policy that would look at drafts."""
    other = make_estimator(digest="0" * 64)
    assert summary(replay(decided, make_policy(), other))["not_replayed"] == 20
    looking = make_policy(early_decode_tokens=8, entropy_above=3.0)
    found = summary(replay(decided, looking, make_estimator()))
    assert found["not_replayed"] == 20 - found["cloud_before"]


def by_rules(router, facts):
    return router.begin(facts).eligibility()


def test_withdrawn_consent_keeps_what_was_sent(decided, make_policy, make_facts, make_estimator):
    """Nobody was asked and the other policy assumes nothing: the device, or no route at all."""
    assumed = make_policy(consent_assumed_for=frozenset({DataClass.PERSONAL}))
    router = Router(assumed, make_estimator())
    unasked = [
        ("a" * 32, by_rules(router, make_facts(consent=None, mode=Mode.PREFER_IN_CLOUD))),
        ("b" * 32, by_rules(router, make_facts(consent=None, input_tokens=600))),
    ]
    found = summary(replay([*decided, *unasked], make_policy(), make_estimator()))
    assert [(each["now"], each["no_route"]) for each in found["changed"]] == [
        ("device", False),
        (None, True),
    ]
    assert found["not_replayed"] == 0


def test_consent_that_is_assumed_lets_requests_leave(make_policy, make_facts, make_estimator):
    """Unless it was refused; a request that would now be weighed has no signals, and is counted."""
    router = Router(make_policy(), make_estimator())
    stored = [
        ("a" * 32, by_rules(router, make_facts(consent=None, mode=Mode.PREFER_IN_CLOUD))),
        ("b" * 32, by_rules(router, make_facts(consent=False, mode=Mode.PREFER_IN_CLOUD))),
        ("c" * 32, by_rules(router, make_facts(consent=None))),
    ]
    assumed = make_policy(consent_assumed_for=frozenset({DataClass.PERSONAL}))
    found = summary(replay(stored, assumed, make_estimator()))
    assert [each["trace_id"] for each in found["changed"]] == ["a" * 32]
    assert (found["cloud_after"], found["not_replayed"]) == (1, 1)
    unpredictive = make_estimator(predictive=False)
    assert summary(replay(stored, assumed, unpredictive))["not_replayed"] == 0


def test_older_records_are_taken_as_judged(make_policy, make_facts, make_estimator):
    """Without consent and data class nothing can be judged again."""
    refused = by_rules(Router(make_policy(), make_estimator()), make_facts(consent=None))
    assumed = make_policy(consent_assumed_for=frozenset({DataClass.PERSONAL}))
    old = [("a" * 32, dataclasses.replace(refused, asked=None))]
    found = summary(replay(old, assumed, make_estimator()))
    assert (found["changed"], found["not_replayed"]) == ([], 0)


def test_the_command_reads_the_trace_store(decided, tmp_path, monkeypatch, capsys):
    """By id or all; decisions of an estimator that is not at hand are counted."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    now = read_clocks()
    before = dataclasses.replace(now, wall_ns=now.wall_ns - 8 * DAY, up_ns=now.up_ns - 8 * DAY)
    store = TraceStore.open(traces_path(Folders.standard()))
    for trace_id, decision in decided:
        reading = now if trace_id == decided[-1][0] else before
        store.save([root_span(trace_id)], decision=decision.to_json_dict(), reading=reading)
    store.close()
    assert run(["route", "replay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["decisions"], found["not_replayed"]) == (21, 20)
    # Their spans are of 1970: it is when they were stored, by the store's own clock.
    assert run(["route", "replay", "--days", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 1
    assert run(["route", "replay", "f" * 32, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 1


def test_what_it_would_cost_is_by_one_tariff(make_policy, make_facts, make_estimator, seen):
    """The other policy's, before and after; by the tokens that were answered."""
    router = Router(make_policy(), make_estimator())
    run_ = router.begin(make_facts())
    sent = run_.eligibility() or run_.prefill(seen(9.0))
    done = Realized(outcome="answered", seconds=1.0, output_tokens=9)
    priced = Costs(weight=0.01, money_per_request=1.0, money_per_1000_tokens=10.0)
    found = summary(
        replay(
            [("a" * 32, sent.ended("a" * 32, done))], make_policy(costs=priced), make_estimator()
        )
    )
    assert (found["money_before"], found["money_after"]) == (2.09, 2.09)
    kept = make_policy(costs=priced, escalate_above_benefit=1.0)
    found = summary(replay([("a" * 32, sent)], kept, make_estimator()))
    assert (found["money_before"], found["money_after"]) == (2.5, 0.0)


def test_records_that_cannot_be_replayed_are_counted(decided, tmp_path, monkeypatch, capsys):
    """One damaged record, or a request that ran nowhere, does not hide the others."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    store = TraceStore.open(traces_path(Folders.standard()))
    _, decision = decided[0]
    damaged = decision.to_json_dict() | {"reason": "felt_like_it"}
    for row, record in enumerate((decision.to_json_dict(), damaged, None)):
        span = root_span(f"{row:032x}")
        store.save([span], decision=record)
    store.close()
    assert run(["route", "replay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["decisions"], found["refused"], found["unreadable"]) == (1, 0, 1)
