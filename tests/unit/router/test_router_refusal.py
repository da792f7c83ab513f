"""A request without a route leaves a record too, and it is told in sentences."""

import json

import pytest
from stored_spans import root_span

from device_agent.traces import TraceStore, traces_path
from lanai.cli.mount import run
from lanai.errors import NoRoute, RouteError
from lanai.folders import Folders
from router import DataClass, Decision, Mode, Reason, Router
from router.refusal import Refusal, read_record

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def refused(make_facts, make_policy):
    """Secret data that do not fit the device."""
    facts = make_facts(data_class=DataClass.SECRET, input_tokens=600, mode=Mode.AUTO)
    begun = Router(make_policy()).begin(facts)
    with pytest.raises(NoRoute) as raised:
        begun.eligibility()
    assert raised.value.reason == begun.refusal.reason
    return begun.refusal


def test_every_rule_is_in_the_record(refused):
    """With the reasons against both sides, what was asked, and the policy's digest."""
    reasons = {verdict.reason for verdict in refused.rules if verdict.reason}
    assert reasons == {Reason.DATA_SECRET, Reason.OVER_DEVICE_CONTEXT}
    assert len(refused.rules) == 13
    assert (refused.reason, refused.asked.data_class) == (Reason.DATA_SECRET, DataClass.SECRET)
    assert len(refused.policy_digest) == 64


def test_it_comes_back_from_json_as_it_was(refused, make_facts, make_policy):
    """And is told apart from a decision by its null route."""
    stored = json.loads(json.dumps(refused.ended(TRACE_ID).to_json_dict(), allow_nan=False))
    assert read_record(stored) == refused.ended(TRACE_ID)
    kept = Router(make_policy()).begin(make_facts(mode=Mode.ONLY_ON_DEVICE)).eligibility()
    assert isinstance(read_record(kept.to_json_dict()), Decision)


@pytest.mark.parametrize(
    ("key", "value"),
    [("reason", "felt_like_it"), ("stage", "prefill"), ("rules", 3), ("prompt", "text")],
)
def test_a_strange_record_is_refused(refused, key, value):
    """By the key's name."""
    with pytest.raises(RouteError, match=key):
        Refusal.from_json_dict(refused.to_json_dict() | {key: value})


def test_the_commands_tell_it(refused, tmp_path, monkeypatch, capsys):
    """`route explain` in sentences; `trace list`, `trace show` and `route replay` go on with it."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    store = TraceStore.open(traces_path(Folders.standard()))
    root = root_span(TRACE_ID)
    store.save([root], error="no_route", decision=refused.ended(TRACE_ID).to_json_dict())
    store.close()
    assert run(["route", "explain", TRACE_ID[:6]]) == 0
    said = capsys.readouterr().out
    assert "Ran nowhere" in said
    assert "Not the cloud: the data are secret and never leave the device." in said
    assert "Not the device: prompt and answer do not fit the device model's context." in said
    for command in (["trace", "list"], ["trace", "show", TRACE_ID]):
        assert run(command) == 0
        assert "data_secret" in capsys.readouterr().out
    assert run(["route", "replay", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == 1
    assert run(["route", "grade", TRACE_ID, "--device", "wrong"]) == 2
