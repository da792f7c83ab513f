"""Stored decisions under another policy: what would change, by the numbers each decision carries.

Only what a decision recorded is used:

    1. Decided by rules: taken as it was judged. Consent and data class are facts that no decision
       stores, so a policy that assumes consent otherwise shows no change here.
    2. Decided by weighing: the estimator that weighed is asked again with the raw signals.
    3. Weighed by an estimator that is not at hand, by a draft, or now to be looked at in a draft:
       not replayed, and counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from router.decision import Decision
from router.estimator import Estimate, Estimator
from router.policy import Policy
from router.vocabulary import Destination, Reason, Stage

__all__ = ["Replayed", "replay", "summary"]

_WEIGHED = frozenset({Reason.CONFIDENT, Reason.LOW_CONFIDENCE, Reason.NOT_PREDICTIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One decision as it fell and as it would fall; ``now`` is ``None`` where it is not told."""

    trace_id: str
    was: Destination
    now: Destination | None
    expected_gain: float
    """Change in P(the answer is good), by the estimator; 0 where nothing changes."""

    @property
    def changed(self) -> bool:
        return self.now is not None and self.now is not self.was

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "trace_id": self.trace_id,
            "was": self.was.value,
            "now": self.now.value if self.now else None,
            "expected_gain": round(self.expected_gain, 4),
        }


def replay(
    stored: Iterable[tuple[str, Decision]], policy: Policy, estimator: Estimator
) -> list[Replayed]:
    """Every decision again, in the order given, each with its trace id."""
    return [_again(trace_id, decision, policy, estimator) for trace_id, decision in stored]


def summary(replayed: list[Replayed]) -> dict[str, Any]:
    """What would change: decisions, requests in the cloud, expected good answers."""
    told = [each for each in replayed if each.now is not None]
    return {
        "decisions": len(replayed),
        "not_replayed": len(replayed) - len(told),
        "changed": [each.to_json_dict() for each in told if each.changed],
        "cloud_before": sum(each.was is Destination.CLOUD for each in told),
        "cloud_after": sum(each.now is Destination.CLOUD for each in told),
        "expected_gain": round(sum(each.expected_gain for each in told), 4),
    }


def _again(trace_id: str, decision: Decision, policy: Policy, estimator: Estimator) -> Replayed:
    was = decision.destination
    if decision.stage is Stage.EARLY_DECODE:
        return Replayed(trace_id=trace_id, was=was, now=None, expected_gain=0.0)
    if decision.stage is not Stage.PREFILL or decision.reason not in _WEIGHED:
        return Replayed(trace_id=trace_id, was=was, now=was, expected_gain=0.0)
    if decision.estimator_digest != estimator.digest:
        return Replayed(trace_id=trace_id, was=was, now=None, expected_gain=0.0)
    estimate = estimator.estimate({each.name: each.raw for each in decision.signals})
    now = _weighed(estimate, policy, predictive=estimator.predictive)
    gain = 0.0
    if now is not None and now is not was:
        gain = estimate.benefit if now is Destination.CLOUD else -estimate.benefit
    return Replayed(trace_id=trace_id, was=was, now=now, expected_gain=gain)


def _weighed(estimate: Estimate, policy: Policy, *, predictive: bool) -> Destination | None:
    """The run's own comparison at prefill; ``None``: it would look at a draft first."""
    threshold = estimate.cloud_good - policy.escalate_above_benefit
    if predictive and estimate.device_good < threshold:
        return Destination.CLOUD
    if policy.early_decode_tokens and estimate.benefit >= policy.look_from_benefit:
        return None
    return Destination.DEVICE
