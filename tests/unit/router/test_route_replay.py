"""Replaying decisions: the same policy changes nothing, another one what it says."""

import json

import pytest

from device_agent.traces import SpanRecord, TraceStore, traces_path
from lanai.cli.mount import run
from lanai.folders import Folders
from router import DataClass, Router
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


def test_the_command_reads_the_trace_store(decided, tmp_path, monkeypatch, capsys):
    """By id or all; decisions of an estimator that is not at hand are counted."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    store = TraceStore.open(traces_path(Folders.standard()))
    for trace_id, decision in decided:
        span = SpanRecord(
            trace_id=trace_id,
            span_id="00f067aa0ba902b7",
            parent_id=None,
            name="lanai.request",
            start_ns=1,
            end_ns=2,
            attributes={},
        )
        store.save([span], decision=decision.to_json_dict())
    store.close()
    assert run(["route", "replay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["decisions"], found["not_replayed"]) == (21, 20)
    assert run(["route", "replay", "f" * 32, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 1
