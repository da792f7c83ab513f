"""``lanai route status`` and the drift line of ``lanai doctor``."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.checkup import _experience
from device_agent.remembering import Memory, experience_path
from lanai.cli.mount import run
from lanai.folders import Folders
from router.drift import RegretWatch
from router.experience import Experience, Watch
from router.grades import Grades

CALM = Watch(estimator="e" * 64, windows=3, alarms=1, distance=0.05, limit=0.16)


@pytest.fixture
def path(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    found = experience_path(Folders.standard())
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def test_a_fresh_device_has_nothing_to_tell(path, capsys) -> None:
    """Digests, the policy's weight, and no drift yet."""
    assert run(["route", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["weight"], found["money_left"], found["drift"]) == (1.0, None, None)
    assert len(found["policy"]) == len(found["estimator"]) == 64


def test_what_was_learned_is_shown(path, capsys) -> None:
    """Usual seconds, wasted calls, and drift in words."""
    drifted = replace(CALM, distance=0.4)
    experience = Experience(device_s=1.5, cloud_s=0.5, requests=9, wasted=2, watch=drifted)
    path.write_text(json.dumps(experience.to_json_dict()))
    assert run(["route", "status"]) == 0
    said = capsys.readouterr().out
    assert "1.50 s an answer" in said
    assert "drifted: no bound is claimed (distance 0.400, limit 0.160)" in said


@pytest.mark.parametrize(
    ("watch", "ok", "reason"),
    [
        (None, True, "no decision to compare yet"),
        (Watch(estimator="e", recent=(0.1,) * 7), True, "7 decisions, no window yet"),
        (CALM, True, "1 of 3 windows drifted"),
        (replace(CALM, distance=0.4), False, "distance 0.400"),
    ],
)
def test_the_doctor_says_whether_requests_drifted(path, watch, ok, reason) -> None:
    """With what to do when they have."""
    path.write_text(json.dumps(Experience(watch=watch).to_json_dict()))
    check = _experience(path)
    assert (check.name, check.ok) == ("drift", ok)
    assert reason in check.reason


def test_the_doctor_says_which_bounds_grades_refute(path) -> None:
    """By α, and that they are claimed no more."""
    watches = (RegretWatch(alpha=0.05), RegretWatch(alpha=0.1, refuted=True))
    grades = Grades(estimator="e" * 64, watches=watches)
    path.write_text(json.dumps(Experience(watch=CALM, grades=grades).to_json_dict()))
    check = _experience(path)
    assert (check.ok, check.reason) == (False, "graded requests refute a regret of 0.1")
    assert "lanai route train" in check.hint


def test_the_doctor_names_a_damaged_file(path) -> None:
    """And the agent goes on without it."""
    path.write_text("{")
    assert not _experience(path).ok
    assert Memory(path).experience == Experience()
