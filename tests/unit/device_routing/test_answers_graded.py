"""``lanai route grade`` keeps a grade with its decision, and the router learns from it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stored_spans import root_span

from device_agent.agent import AsyncAgent
from device_agent.grades import grade
from device_agent.remembering import Memory, experience_path
from device_agent.traces import TraceStore, traces_path
from lanai.cli.mount import run
from lanai.errors import TraceError, UsageError
from lanai.folders import Folders
from router import (
    CloudFacts,
    DataClass,
    Decision,
    DeviceFacts,
    Mode,
    Policy,
    PrefillObservation,
    RequestFacts,
    Router,
    shipped_estimator,
)
from router.policy_parts import Guarantee
from router.recorded import Graded

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
WRONG = Graded(device_good=False, cloud_good=True)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch) -> Folders:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    return Folders.standard()


@pytest.fixture
def router() -> Router:
    """The shipped estimator under a guarantee, so that a bound is claimed."""
    return Router(replace(Policy.load(), guarantee=Guarantee(alpha=0.2)), shipped_estimator())


@pytest.fixture
def decision(router: Router) -> Decision:
    facts = RequestFacts(
        mode=Mode.AUTO,
        data_class=DataClass.PUBLIC,
        consent=True,
        input_tokens=30,
        max_output_tokens=9,
        device=DeviceFacts(
            ready=True, context_tokens=2048, model=router.estimator.pair.device.names[0]
        ),
        cloud=CloudFacts(
            configured=True,
            reachable=True,
            verified_nodes=1,
            context_tokens=8192,
            model=router.estimator.pair.cloud.names[0],
        ),
    )
    run_ = router.begin(facts)
    assert run_.eligibility() is None
    seen = PrefillObservation(input_tokens=30, entropy=1.0, margin=0.5, top_probability=0.6)
    decided = run_.prefill(seen)
    assert decided is not None
    return decided


@pytest.fixture
def store(folders: Folders, decision: Decision):
    opened = TraceStore.open(traces_path(folders))
    for row in range(40):
        _save(opened, f"{row:032x}", decision)
    _save(opened, TRACE_ID, decision)
    yield opened
    opened.close()


def _save(store: TraceStore, trace_id: str, decision: Decision) -> None:
    root = root_span(trace_id)
    store.save([root], decision=decision.to_json_dict())


def test_a_grade_is_kept_with_its_decision(store, capsys) -> None:
    """By the start of an id; `explain` tells it."""
    assert run(["route", "grade", TRACE_ID[:8], "--device", "wrong", "--cloud", "right"]) == 0
    assert Decision.from_json_dict(store.decision(TRACE_ID)).graded == WRONG
    capsys.readouterr()
    assert run(["route", "explain", TRACE_ID]) == 0
    assert "the device's answer was found wrong, the cloud's was found right" in (
        capsys.readouterr().out
    )


def test_a_grade_counts_once_and_says_something(store, router) -> None:
    """A second one, an empty one and an unknown trace are refused."""
    memory = Memory()
    with pytest.raises(UsageError, match="one side"):
        grade(store, memory, router, TRACE_ID, Graded(device_good=None, cloud_good=None))
    grade(store, memory, router, TRACE_ID, WRONG)
    with pytest.raises(UsageError, match="already"):
        grade(store, memory, router, TRACE_ID, WRONG)
    with pytest.raises(TraceError):
        grade(store, memory, router, "ffff", WRONG)


async def test_apps_grade_by_the_reply_s_trace(store, folders) -> None:
    """The same from Python; without a store it is an error, not silence."""
    agent = AsyncAgent.from_config(folders=folders)
    decision = await agent.grade(TRACE_ID, device_good=True)
    assert decision.graded == Graded(device_good=True, cloud_good=None)
    await agent.close()
    with pytest.raises(TraceError):
        grade(None, Memory(), Router(Policy.load()), TRACE_ID, WRONG)


def test_graded_regrets_reach_the_next_decision(store, router, folders, capsys) -> None:
    """Forty regrets under one claim: every process's next request knows that it is refuted."""
    memory = Memory(experience_path(folders))
    for row in range(40):
        grade(store, memory, router, f"{row:032x}", WRONG)
    assert Memory(experience_path(folders)).standing(router).refuted == (0.2,)
    assert run(["route", "status"]) == 0
    assert "refuted: claimed no more (" in capsys.readouterr().out
    assert run(["route", "status", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["grades"]
    assert (row["alpha"], row["refuted"]) == (0.2, True)
