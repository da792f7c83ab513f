"""Stored decisions under another policy: what would change, by the numbers each decision carries.

Only what a decision recorded is used:

    1. The rules: those that read the policy, data class and consent, are judged again by what was
       said, found and consented to; other verdicts stand. Records from before these were kept, and
       what was decided after the cloud had failed, are taken as they were judged.
    2. Decided by weighing: the estimator that weighed is asked again with the raw signals, and the
       other policy prices the circumstances that were recorded.
    3. Weighed by an estimator that is not at hand, by a draft or an answer (unless the other policy
       sends it before), now to be looked at in one, or now to be weighed by signals that nobody
       measured: not replayed, and counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from lanai.errors import NoRoute
from router.circumstances import Circumstances
from router.decision import Decision
from router.eligibility import Eligibility
from router.estimator import Estimate, Estimator
from router.policy import Policy
from router.recorded import Asked
from router.rules import ConsentRule, DataClassRule
from router.vocabulary import DataClass, Destination, Reason, Stage
from router.weighing import looks_at_draft, never_sends, stays_in_cloud, weigh

__all__ = ["Replayed", "replay", "summary"]

_WEIGHED = frozenset(
    {
        Reason.CONFIDENT,
        Reason.LOW_CONFIDENCE,
        Reason.NOT_PREDICTIVE,
        Reason.COST_OUTWEIGHED,
        Reason.BUDGET_SPENT,
    }
)
NOTHING_KNOWN = Circumstances(input_tokens=0, max_output_tokens=0)
"""Of records from before circumstances were kept: then only the benefit is weighed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One decision as it fell and as it would fall.

    ``now`` is ``None`` where it is not told, or where the other policy leaves ``no_route``.
    """

    trace_id: str
    was: Destination
    now: Destination | None
    expected_gain: float
    """Change in P(the answer is good) by the estimator; 0 where nothing changes or none weighed."""
    no_route: bool = False
    money: float = 0.0
    """Of this request in the cloud, by the other policy's tariff."""

    @property
    def changed(self) -> bool:
        return self.no_route or (self.now is not None and self.now is not self.was)

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "trace_id": self.trace_id,
            "was": self.was.value,
            "now": self.now.value if self.now else None,
            "expected_gain": round(self.expected_gain, 4),
            "no_route": self.no_route,
        }


def replay(
    stored: Iterable[tuple[str, Decision]], policy: Policy, estimator: Estimator
) -> list[Replayed]:
    """Every decision again, in the order given, each with its trace id."""
    return [_again(trace_id, decision, policy, estimator) for trace_id, decision in stored]


def summary(replayed: list[Replayed]) -> dict[str, Any]:
    """What would change: decisions, requests in the cloud, money, expected good answers.

    Money is by the other policy's tariff on both sides, so that only routes differ.
    """
    told = [each for each in replayed if each.now is not None or each.no_route]
    return {
        "decisions": len(replayed),
        "not_replayed": len(replayed) - len(told),
        "changed": [each.to_json_dict() for each in told if each.changed],
        "cloud_before": sum(each.was is Destination.CLOUD for each in told),
        "cloud_after": sum(each.now is Destination.CLOUD for each in told),
        "money_before": round(sum(r.money for r in told if r.was is Destination.CLOUD), 6),
        "money_after": round(sum(r.money for r in told if r.now is Destination.CLOUD), 6),
        "expected_gain": round(sum(each.expected_gain for each in told), 4),
    }


def _again(trace_id: str, decision: Decision, policy: Policy, estimator: Estimator) -> Replayed:
    was, estimate = decision.destination, _estimate(decision, estimator)
    again = Replayed(
        trace_id=trace_id, was=was, now=None, expected_gain=0.0, money=_money(decision, policy)
    )
    try:
        now = _now(decision, policy, estimator, estimate)
    except NoRoute:
        return replace(again, no_route=True)
    gain = 0.0
    if estimate is not None and now is not None and now is not was:
        gain = estimate.benefit if now is Destination.CLOUD else -estimate.benefit
    return replace(again, now=now, expected_gain=gain)


def _money(decision: Decision, policy: Policy) -> float:
    """By the tokens that were answered, where that is known; else by those that were asked for."""
    seen, done = _seen(decision), decision.realized
    answered = None if done is None else done.output_tokens
    tokens = seen.max_output_tokens if answered is None else answered
    return policy.costs.money_of(seen.input_tokens, tokens)


def _now(
    decision: Decision, policy: Policy, estimator: Estimator, estimate: Estimate | None
) -> Destination | None:
    """Raises ``NoRoute``. ``None``: not told."""
    if decision.stage is Stage.FALLBACK:
        return decision.destination
    if decision.destination is Destination.EXTERNAL:
        return _outside(decision.asked, policy)
    # 1. The rules.
    if decision.asked is not None:
        settled = _judged(decision, decision.asked, policy).settle()
        if settled is not None:
            return settled[0]
        if stays_in_cloud(policy, _seen(decision).session_on):
            return Destination.CLOUD
    # 2. and 3. Weighing.
    if decision.stage in (Stage.EARLY_DECODE, Stage.AFTER_ANSWER):
        return _sent_at_prefill(decision, policy, estimator, estimate)
    if decision.reason in _WEIGHED:
        return _weighed(decision, policy, estimator, estimate) if estimate else None
    if decision.reason is Reason.NO_ESTIMATOR and looks_at_draft(policy, None):
        return None
    if decision.asked is None or decision.reason is Reason.NO_ESTIMATOR:
        return decision.destination
    # A rule had settled it, and no longer does.
    return Destination.DEVICE if never_sends(policy, estimator) else None


def _outside(asked: Asked | None, policy: Policy) -> Destination | None:
    """Where the other policy raises the data class, the rest of the rules was not recorded."""
    if asked is None or policy.raised.raised(asked.data_class, asked.found) is DataClass.PUBLIC:
        return Destination.EXTERNAL
    return None


def _weighed(
    decision: Decision, policy: Policy, estimator: Estimator, estimate: Estimate
) -> Destination | None:
    category = decision.asked.category if decision.asked else None
    found = weigh(policy, estimator, estimate, _seen(decision), category).destination
    later = found is Destination.DEVICE and looks_at_draft(policy, estimate)
    return None if later else found


def _sent_at_prefill(
    decision: Decision, policy: Policy, estimator: Estimator, estimate: Estimate | None
) -> Destination | None:
    """Of a request that a draft or an answer decided only this is told: it never came so far."""
    if estimate is None:
        return None
    found = _weighed(decision, policy, estimator, estimate)
    return found if found is Destination.CLOUD else None


def _seen(decision: Decision) -> Circumstances:
    return decision.circumstances or NOTHING_KNOWN


def _judged(decision: Decision, asked: Asked, policy: Policy) -> Eligibility:
    data_class, consent = (
        DataClassRule(raised=policy.raised),
        ConsentRule(assumed_for=policy.consent_assumed_for, raised=policy.raised),
    )
    again = {
        data_class.name: data_class.verdict(asked.data_class, asked.found),
        consent.name: consent.verdict(asked.data_class, asked.found, asked.consent),
    }
    verdicts = tuple(again.get(each.name, each) for each in decision.rules)
    return Eligibility(mode=asked.mode, verdicts=verdicts)


def _estimate(decision: Decision, estimator: Estimator) -> Estimate | None:
    """What the estimator made of the recorded signals, if it is the one that weighed them."""
    if decision.estimator_digest != estimator.digest:
        return None
    return estimator.estimate({each.name: each.raw for each in decision.signals})
