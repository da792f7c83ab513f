"""Graded requests refute a bound that no longer holds, and only such a bound."""

import json
from dataclasses import replace

import numpy as np
import pytest

from router import Reason, Router, Stage
from router.bounds import Bounds, NoBound
from router.circumstances import Circumstances
from router.drift import WINDOW, RegretWatch
from router.experience import Experience
from router.grades import Grades, regret_of
from router.guarantee import KeepBound
from router.recorded import Graded
from router.strict import Fields, Malformed

RIGHT, WRONG = (
    Graded(device_good=True, cloud_good=None),
    Graded(device_good=False, cloud_good=True),
)


def bound(alpha: float, threshold: float) -> KeepBound:
    return KeepBound(
        alpha=alpha,
        delta=0.1,
        threshold=threshold,
        kept=0.5,
        losses=1,
        questions=200,
        ahead=200,
        regret_bound=alpha,
    )


BOUNDS = Bounds(overall=[bound(0.1, -0.1), bound(0.2, -0.15)])


def watched(grades, alpha=0.1):
    watch = RegretWatch(alpha=alpha)
    for regret in grades:
        watch = watch.observed(bool(regret))
    return watch


def test_a_broken_promise_is_refuted_and_a_kept_one_is_not():
    """Three times α is found within a window; a rate of α just about never, over many windows."""
    random = np.random.default_rng(0)
    assert watched(random.random(WINDOW - 1) < 0.3).refuted
    kept = [watched(random.random(5 * WINDOW) < 0.1).refuted for _ in range(40)]
    assert sum(kept) <= 1


def test_looking_often_raises_no_alarm():
    """At every grade of 300 windows with the rate at α: as few alarms as were promised."""
    random = np.random.default_rng(1)
    alarms = sum(watched(random.random(WINDOW - 1) < 0.2, alpha=0.2).refuted for _ in range(300))
    assert alarms <= 3  # 0.1% of them, and what chance adds


def test_a_refuted_claim_stays_refuted():
    """Good requests after it do not bring the same calibration back."""
    watch = watched([1] * 30 + [0] * 3 * WINDOW)
    assert watch.refuted
    assert watched([1] * 3 + [0] * 3 * WINDOW).windows == 3


@pytest.fixture
def ask(make_facts, make_policy, make_estimator, seen):
    """Weighs one request under an experience; the router claims α = 0.1."""
    estimator = make_estimator(bounds=BOUNDS)
    router = Router(make_policy(escalate_above_benefit=0.05), estimator)

    def decide(experience: Experience):
        standing = experience.standing(router.policy, estimator, 0.0)
        run = router.begin(make_facts(standing=standing))
        return run.eligibility() or run.prefill(seen(0.5))

    return decide, estimator


def test_graded_regrets_void_the_bound_they_speak_against(ask):
    """α = 0.1 is claimed until grades refute it; then the looser one, which nothing refuted."""
    decide, estimator = ask
    experience = Experience()
    assert decide(experience).bound.alpha == 0.1
    for _ in range(20):
        experience = experience.graded(decide(Experience()), WRONG, estimator)
    assert experience.grades.refuted == (0.1,)
    after = decide(experience)
    assert (after.bound.alpha, after.circumstances.refuted) == (0.2, (0.1,))
    both = replace(
        experience,
        grades=Grades(
            estimator=estimator.digest,
            watches=tuple(RegretWatch(alpha=a, refuted=True) for a in (0.1, 0.2)),
        ),
    )
    none = decide(both)
    assert (none.bound.alpha, none.bound.refused) == (None, NoBound.REFUTED)
    assert "more regret than it promises" in none.explain()


def test_a_new_calibration_begins_anew(ask, make_estimator):
    """Another estimator's claims are not refuted by what was found of this one's."""
    decide, estimator = ask
    experience = Experience()
    for _ in range(20):
        experience = experience.graded(decide(Experience()), WRONG, estimator)
    other = make_estimator(bounds=BOUNDS, digest="f" * 64)
    assert experience.grades_of(other).refuted == ()
    assert experience.graded(decide(Experience()), RIGHT, other).grades.watches == ()


def test_what_a_grade_says_of_regret(ask):
    """Only a wrong answer here that the cloud had right; not told is not guessed."""
    decision = ask[0](Experience())
    said = {
        (device, cloud): regret_of(decision, Graded(device_good=device, cloud_good=cloud))
        for device in (True, False, None)
        for cloud in (True, False, None)
    }
    assert [pair for pair, regret in said.items() if regret] == [(False, True)]
    assert [pair for pair, regret in said.items() if regret is None] == [
        (False, None),
        (None, True),
        (None, None),
    ]
    fell_back = replace(decision, stage=Stage.FALLBACK, reason=Reason.CLOUD_FAILED)
    assert regret_of(fell_back, WRONG) is None


def test_grades_are_kept_and_read_strictly(ask):
    """Through JSON they are equal; counts that cannot be are refused by name."""
    decide, estimator = ask
    experience = Experience().graded(decide(Experience()), WRONG, estimator)
    stored = json.loads(json.dumps(experience.to_json_dict()))
    assert Experience.read(stored) == experience
    stored["grades"]["watches"][0]["regrets"] = 9
    with pytest.raises(Malformed, match="alpha"):
        Experience.read(stored)
    del stored["grades"]
    assert Experience.read(stored).grades is None


def test_circumstances_tell_what_was_refuted():
    """In each record, so that a replay weighs by the same; nothing where nothing was."""
    seen = Circumstances(input_tokens=1, max_output_tokens=1, refuted=(0.05, 0.1))
    assert Circumstances.read(Fields(seen.to_json_dict())) == seen
    assert "refuted" not in replace(seen, refuted=()).to_json_dict()
