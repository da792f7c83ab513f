"""Costs move a price, a budget their weight, a clock may jump; bounds are claimed or refused."""

import json
import math
import random
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from lanai.errors import ConfigError
from router import Decision, DeviceState, Policy, Reason, Router
from router.bounds import Bounds, NoBound
from router.circumstances import Standing
from router.experience import Experience
from router.guarantee import KeepBound
from router.pacing import DAY_S, Pace
from router.policy_parts import Budget, Costs, Guarantee
from router.recorded import Realized
from router.strict import Malformed
from router.vocabulary import Destination
from router.words import NO_BOUND

SHIPPED = resources.files("router").joinpath("default_policy.toml").read_text(encoding="utf-8")
BUDGET = Budget(money_per_day=20.0)
COSTS = Costs(weight=0.05, money_per_request=1.0)


def with_sections(text: str) -> str:
    return f"{SHIPPED}\n{text}\n"


@pytest.mark.parametrize(
    ("added", "named"),
    [
        ("[budget]\nmoney_per_day = 1.0", "budget.money_per_day"),
        ("[costs]\nweight = 0.0\nmoney_per_request = 1.0", "costs.weight"),
        ("[costs]\nlatency_target_s = 2.0", "costs.latency_target_s"),
        ("[costs]\nper_joule = 1.0", "costs.per_joule"),
        ("[costs]\nmoney = 1.0", "costs.money"),
        ("[costs]\nmoney_per_request = -1.0", "costs.money_per_request"),
        ("[hedge]\nwithin = 1.5", "hedge.within"),
        ("[guarantee]\nalpha = 0.0", "guarantee.alpha"),
        (
            "[costs]\nmoney_per_request = 1.0\nweight = 9.0\n"
            "[budget]\nmoney_per_day = 1.0\nweight_at_most = 2.0",
            "budget.weight_at_most",
        ),
    ],
)
def test_a_contradictory_section_is_refused_by_line(added, named):
    """A cost that can never count, a budget of nothing, a weight above its own limit."""
    text = with_sections(added)
    with pytest.raises(ConfigError) as caught:
        Policy.parse(text)
    assert named in caught.value.message
    line = int(caught.value.message.partition("line ")[2].partition(":")[0])
    assert text.splitlines()[line - 1].startswith(named.rpartition(".")[2])


def test_a_hedge_needs_a_later_stage_and_a_finding_something_to_raise():
    """A call that no stage could use, and a class below all others, are contradictions."""
    hedged = SHIPPED.replace("look = true", "look = false") + "\n[hedge]\nwithin = 0.1\n"
    with pytest.raises(ConfigError, match=r"hedge\.within opens"):
        Policy.parse(hedged)
    with pytest.raises(ConfigError, match=r"data_class\.card raises nothing"):
        Policy.parse(SHIPPED.replace('card = "secret"', 'card = "public"'))
    with pytest.raises(ConfigError, match=r"data_class\.face is none of"):
        Policy.parse(SHIPPED.replace('card = "secret"', 'face = "secret"'))


@pytest.fixture
def decided(make_facts, make_policy, make_estimator, seen):
    """The decision at prefill under changed facts, policy and estimator."""

    def decide(facts=None, estimator=None, entropy=3.0, **policy):
        run = Router(make_policy(**policy), make_estimator(**(estimator or {}))).begin(
            make_facts(**(facts or {}))
        )
        return run.eligibility() or run.prefill(seen(entropy))

    return decide


def test_costs_outweigh_a_benefit_and_the_terms_are_recorded(decided):
    """The benefit is above what is asked, and below that plus λ times the money."""
    plain, dear = decided(), decided(costs=Costs(weight=2.0, money_per_request=0.2))
    assert (plain.reason, dear.reason) == (Reason.LOW_CONFIDENCE, Reason.COST_OUTWEIGHED)
    assert dear.utility.price == pytest.approx(0.1 + 2.0 * 0.2)
    assert dear.utility.benefit == pytest.approx(plain.utility.benefit)
    assert "its costs (money +0.200) at weight 2" in dear.explain()
    assert "at a price below 0.50" in dear.counterfactual


def test_latency_counts_over_the_target_and_with_the_history(decided):
    """Seconds of the cloud over the target, less those of the device; a moved history is read."""
    costs = Costs(latency_target_s=2.0, per_second_late=0.1, reread_s_per_1000_tokens=10.0)
    standing = Standing(device_s=3.0, cloud_s=5.0)
    new = decided({"standing": standing}, costs=costs)
    assert new.utility.latency == pytest.approx(0.1 * (3.0 - 1.0))
    moved = decided(
        {"standing": standing, "session_on": Destination.DEVICE, "history_tokens": 50},
        costs=costs,
    )
    assert moved.utility.latency == pytest.approx(0.1 * (3.5 - 1.0))
    assert moved.circumstances.history_tokens == 50


@pytest.mark.parametrize(
    ("state", "scarcity"),
    [
        (DeviceState(battery=0.25, charging=False), 0.75),
        (DeviceState(battery=0.25, charging=True), 0.0),
        (DeviceState(battery=0.9, charging=False, heat=0.5), 0.5),
        (DeviceState(), 0.0),
    ],
)
def test_energy_counts_by_battery_and_heat(decided, state, scarcity):
    """On a low battery or a hot device the cloud saves what the model would burn."""
    costs = Costs(per_joule=0.001, device_joules_per_token=1.0, joules_per_escalation=10.0)
    found = decided({"device": {"state": state}}, costs=costs)
    assert found.utility.energy == pytest.approx(0.001 * scarcity * (10.0 - 150.0))


def test_the_last_tokens_are_the_dearest(decided):
    """With n in the wallet, one n-th of the last one's cost."""
    costs = Costs(last_token=0.3)
    terms = [decided({"cloud": {"quota": n}}, costs=costs).utility.quota for n in (1, 3, 0)]
    assert terms == pytest.approx([0.3, 0.1, 0.3])


def test_a_spent_budget_keeps_the_device(decided):
    """A benefit above the price stays all the same; a rule that needs the cloud still has it."""
    policy = {"costs": COSTS, "budget": BUDGET}
    broke = {"standing": Standing(weight=0.01, money_left=0.5)}
    assert decided(broke, **policy).reason is Reason.BUDGET_SPENT
    assert decided({"standing": Standing(weight=0.01, money_left=1.0)}, **policy).destination is (
        Destination.CLOUD
    )
    small = decided({**broke, "device": {"context_tokens": 10}}, **policy)
    assert (small.destination, small.reason) == (Destination.CLOUD, Reason.OVER_DEVICE_CONTEXT)


def test_the_weight_makes_money_last_a_day(make_policy):
    """Sixty days of a hundred requests with random benefits spend the budget, day by day."""
    draws, pace, now = random.Random(0), Pace(at_s=0.0), 0.0
    days, gained = [], 0.0
    for _ in range(60):
        spent = 0
        for _ in range(100):
            now += DAY_S / 100 * draws.uniform(0.5, 1.5)
            pace, benefit = pace.passed(now, BUDGET), draws.uniform(-0.2, 0.4)
            if benefit > pace.weight(COSTS, BUDGET) and pace.money_left(BUDGET) >= 1:
                pace, spent, gained = pace.spent(1.0, BUDGET), spent + 1, gained + benefit
        days.append(spent)
    assert sum(days[5:]) / 55 == pytest.approx(20, abs=0.5)
    assert max(days[5:]) <= 30
    # The best twenty of a hundred benefits are worth 6.8 a day.
    assert gained / 60 > 0.9 * 6.8


def test_a_clock_that_jumps_is_counted_and_gives_nothing_away():
    """Back: no time passed. Ahead by years: at most one day's. No number: no time either."""
    spent = Pace(at_s=1e9).spent(20.0, BUDGET)
    back = spent.passed(1e9 - 3600, BUDGET)
    assert (back.purse, back.factor, back.jumps) == (spent.purse, spent.factor, 1)
    ahead = spent.passed(1e9 + 2 * 366 * DAY_S, BUDGET)
    assert (ahead.purse, ahead.jumps) == (1.0, 1)
    assert ahead.factor == pytest.approx(spent.factor * math.exp(-BUDGET.rate))
    assert spent.passed(math.nan, BUDGET) == replace(spent, jumps=1)
    assert back.passed(1e9 + DAY_S, BUDGET).purse == pytest.approx(1.0)


def bound(alpha, threshold):
    return KeepBound(
        alpha=alpha,
        delta=0.1,
        threshold=threshold,
        kept=0.5,
        losses=3,
        questions=100,
        ahead=100,
        regret_bound=alpha,
    )


BOUNDS = Bounds(
    overall=[bound(0.05, 0.2), bound(0.2, -0.15)], by_category={"sums": [bound(0.1, -0.05)]}
)


def test_the_least_alpha_that_is_covered_is_claimed(decided):
    """A rule at least as strict as the calibrated one: 0.1 of benefit asked covers α = 0.2."""
    claim = decided(estimator={"bounds": BOUNDS}, entropy=1.0).bound
    assert (claim.alpha, claim.delta, claim.refused) == (0.2, 0.1, None)


def test_a_bound_of_the_category_is_its_own(decided):
    """A category that the calibration knows has its bound; a free word is not recorded."""
    known = decided({"category": "sums"}, {"bounds": BOUNDS}, entropy=1.0)
    assert (known.bound.category, known.bound.refused) == ("sums", NoBound.LOOSER)
    free = decided({"category": "my secret plan"}, {"bounds": BOUNDS}, entropy=1.0)
    assert free.bound.alpha == 0.2
    assert "secret" not in json.dumps(free.to_json_dict())


@pytest.mark.parametrize(
    ("facts", "estimator", "policy", "refused"),
    [
        ({}, {}, {}, NoBound.NOT_CALIBRATED),
        ({}, {"bounds": BOUNDS}, {"escalate_above_benefit": 0.5}, NoBound.LOOSER),
        ({}, {"bounds": BOUNDS, "predictive": False}, {}, NoBound.LOOSER),
        ({"standing": Standing(drifted=True)}, {"bounds": BOUNDS}, {}, NoBound.DRIFTED),
        ({"standing": Standing(refuted=(0.2,))}, {"bounds": BOUNDS}, {}, NoBound.REFUTED),
    ],
)
def test_no_bound_is_claimed_where_none_holds(decided, facts, estimator, policy, refused):
    """Not calibrated, looser, drifted or refuted: said in the record and in words."""
    decision = decided(facts, estimator, entropy=1.0, **policy)
    assert (decision.bound.alpha, decision.bound.refused) == (None, refused)
    assert f"No bound of regret is claimed: {NO_BOUND[refused]}." in decision.explain()


@pytest.mark.parametrize("predictive", [True, False])
def test_a_guarantee_sends_what_the_bound_does_not_cover(decided, predictive):
    """It lowers the price to the bound's, with heads that were not found to tell, too."""
    estimator = {"bounds": BOUNDS, "predictive": predictive}
    asked = {"guarantee": Guarantee(alpha=0.05), "escalate_above_benefit": 0.5}
    sent = decided(estimator=estimator, entropy=1.9, **asked)
    assert (sent.destination, sent.bound.alpha) == (Destination.CLOUD, 0.05)
    kept = decided(estimator=estimator, entropy=0.5, **asked)
    assert (kept.destination, kept.bound.alpha) == (Destination.DEVICE, 0.05)


def test_drift_of_the_score_is_noticed_and_voids_the_bound(
    make_facts, make_policy, make_estimator, seen
):
    """Two hundred requests unlike those measured raise the alarm; a calm window lifts it."""
    draws = np.random.default_rng(0)
    estimator = make_estimator(bounds=BOUNDS)
    scores = [
        -estimator.estimate({"first_token_entropy": e}).benefit for e in draws.normal(2, 1, 400)
    ]
    estimator = replace(estimator, reference=tuple(sorted(scores)))
    policy = make_policy()
    router, experience = Router(policy, estimator), Experience()

    def ask(entropies):
        nonlocal experience
        for entropy in entropies:
            standing = experience.standing(policy, estimator, 0.0)
            run = router.begin(make_facts(standing=standing))
            decision = run.eligibility() or run.prefill(seen(float(entropy)))
            experience = experience.after(decision, policy, estimator, 0.0)
        return decision

    assert ask(draws.normal(2, 1, 201)).circumstances.drifted is False
    assert ask(draws.normal(4, 1, 200)).bound.refused is NoBound.DRIFTED
    assert experience.watch.alarms == 1
    assert ask(draws.normal(2, 1, 200)).bound.refused is None
    assert Experience.read(json.loads(json.dumps(experience.to_json_dict()))) == experience


def test_experience_learns_seconds_and_money_from_what_was_answered(
    make_facts, make_policy, make_estimator, seen
):
    """Cancelled requests tell nothing of seconds; each sealed call costs."""
    policy, estimator = make_policy(costs=COSTS, budget=BUDGET), make_estimator()
    run = Router(policy, estimator).begin(make_facts())
    sent = run.eligibility() or run.prefill(seen(9.0))
    done = Realized(outcome="answered", seconds=2.0, cloud_requests=1, money=5.0)
    first = Experience().after(sent.ended("t", done), policy, estimator, 1e9)
    assert (first.cloud_s, first.device_s) == (2.0, None)
    assert first.standing(policy, estimator, 1e9).money_left == pytest.approx(15.0)
    assert first.standing(policy, estimator, 1e9).weight > COSTS.weight
    late = Realized(outcome="cancelled", seconds=99.0, cloud_requests=1, wasted_requests=1)
    second = first.after(sent.ended("t", late), policy, estimator, 1e9)
    assert (second.cloud_s, second.wasted) == (2.0, 1)


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "lanai.experience/2"},
        {"pace": {"factor": 1e99, "purse": 0.5, "at_s": 0.0, "jumps": 0}},
        {"watch": 1},
        {"text": "more"},
    ],
)
def test_damaged_experience_is_refused(damage):
    """Unknown keys, other versions, numbers out of range."""
    with pytest.raises(Malformed):
        Experience.read(Experience().to_json_dict() | damage)


def test_a_whole_decision_survives_its_record(decided):
    """Every part that is new: terms, claim, circumstances, models, what it came to."""
    state = DeviceState(battery=0.5, charging=False, heat=0.25, online=True)
    facts = {"device": {"state": state}, "session_on": Destination.DEVICE, "history_tokens": 3}
    decision = decided(facts, {"bounds": BOUNDS}, costs=COSTS)
    ended = decision.ended("ab" * 16, Realized(outcome="answered", seconds=1.5, output_tokens=4))
    stored = json.loads(json.dumps(ended.to_json_dict(), allow_nan=False))
    assert Decision.from_json_dict(stored) == ended
    assert "It was answered after 1.50 s." in ended.explain()
    assert stored["models"]["device_sha256"] is None
    assert stored["circumstances"]["battery"] == 0.5
