"""``lanai route explain`` reads a stored decision and says it."""

import json

import pytest
from stored_spans import root_span

from device_agent.traces import TraceStore, traces_path
from lanai.cli.mount import run
from lanai.folders import Folders
from router import Decision, Router

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def decision(make_facts, make_policy, make_estimator, seen):
    routing = Router(make_policy(), make_estimator()).begin(make_facts())
    routing.eligibility()
    return routing.prefill(seen(3.0))


@pytest.fixture
def stored(decision, tmp_path, monkeypatch):
    """The decision in this user's trace store."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    store = TraceStore.open(traces_path(Folders.standard()))
    root = root_span(TRACE_ID)
    store.save([root], decision=decision.to_json_dict())
    store.close()
    return decision


def test_a_decision_is_told_in_sentences(stored, capsys):
    """By a prefix of its id, on stdout."""
    assert run(["route", "explain", TRACE_ID[:8]]) == 0
    assert capsys.readouterr().out.strip() == stored.explain()


def test_a_decision_is_printed_as_json(stored, capsys):
    """``--json`` prints the record itself."""
    assert run(["route", "explain", TRACE_ID, "--json"]) == 0
    assert Decision.from_json_dict(json.loads(capsys.readouterr().out)) == stored


def test_an_unknown_trace_is_one_line_and_a_hint(stored, capsys):
    """Exit 1, nothing on stdout."""
    assert run(["route", "explain", "ffff"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hint:" in captured.err
