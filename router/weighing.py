"""What a policy makes of an estimate: the one comparison that runs, shadows and replays share.

1. Terms: what the policy asks for, plus λ times what the cloud costs at this moment.
2. A guarantee the policy wants may only lower that price: it sends more, never less.
3. A benefit above the price goes to the cloud, while the day's money lasts.
"""

from dataclasses import dataclass

from lanai.errors import NoRoute
from router.bounds import Claim
from router.circumstances import Circumstances
from router.eligibility import Eligibility, judge
from router.estimator import Estimate, Estimator
from router.facts import RequestFacts
from router.policy import Policy
from router.recorded import Shadow
from router.rules import rules_of
from router.utility import Terms, terms_of
from router.vocabulary import Destination, Reason

__all__ = ["ShadowPolicy", "Weighed", "looks_at_draft", "stays_in_cloud", "weigh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """``price``: benefit above which the cloud was worth it; ``None`` where none would be."""

    destination: Destination
    reason: Reason
    terms: Terms
    price: float | None
    claim: Claim


def weigh(
    policy: Policy,
    estimator: Estimator,
    estimate: Estimate,
    seen: Circumstances,
    category: str | None = None,
    *,
    predictive: bool | None = None,
) -> Weighed:
    """``predictive``: of the heads that made the estimate; the estimator's, where not named."""
    terms = terms_of(policy.costs, policy.escalate_above_benefit, estimate.benefit, seen)
    able = estimator.predictive if predictive is None else predictive
    price = _price(policy, estimator, terms, category, able=able)
    destination, reason = _chosen(policy, estimate, terms, price, seen)
    kept_for_money = reason is Reason.BUDGET_SPENT
    return Weighed(
        destination=destination,
        reason=reason,
        terms=terms,
        price=price,
        claim=estimator.bounds.claim(
            None if kept_for_money else price,
            category,
            drifted=seen.drifted,
            refuted=seen.refuted,
        ),
    )


def _price(
    policy: Policy, estimator: Estimator, terms: Terms, category: str | None, *, able: bool
) -> float | None:
    """A bound is counted, not predicted: it holds for heads that were not found to tell, too."""
    asked = terms.price if able else None
    kept_from = None
    if policy.guarantee is not None:
        kept_from = estimator.bounds.kept_from(policy.guarantee, category)
    if asked is None or kept_from is None:
        return asked if kept_from is None else -kept_from
    return min(asked, -kept_from)


def _chosen(
    policy: Policy, estimate: Estimate, terms: Terms, price: float | None, seen: Circumstances
) -> tuple[Destination, Reason]:
    if price is None:
        return Destination.DEVICE, Reason.NOT_PREDICTIVE
    if estimate.device_good < estimate.cloud_good - price:
        if not affordable(policy, seen):
            return Destination.DEVICE, Reason.BUDGET_SPENT
        return Destination.CLOUD, Reason.LOW_CONFIDENCE
    outweighed = estimate.device_good < estimate.cloud_good - terms.asked
    return Destination.DEVICE, Reason.COST_OUTWEIGHED if outweighed else Reason.CONFIDENT


def affordable(policy: Policy, seen: Circumstances) -> bool:
    """Does the day's money still pay for this request?"""
    if policy.budget is None or seen.money_left is None:
        return True
    return policy.costs.money_of(seen.input_tokens, seen.max_output_tokens) <= seen.money_left


def looks_at_draft(policy: Policy, estimate: Estimate) -> bool:
    return policy.early_decode_tokens > 0 and estimate.benefit >= policy.look_from_benefit


def stays_in_cloud(policy: Policy, session_on: Destination | None) -> bool:
    """Escalate-only sessions: the history is there, and would be read anew here."""
    return policy.session.escalate_only and session_on is Destination.CLOUD


class ShadowPolicy:
    """A second policy, asked beside the first. It only speaks: nothing reads it to act."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._rules = rules_of(policy)

    def word(
        self, facts: RequestFacts, estimator: Estimator | None, estimate: Estimate | None
    ) -> Shadow:
        """``estimator``: the one admitted for this pair; ``estimate``: where one was made."""
        try:
            found = self._found(judge(self._rules, facts), facts, estimator, estimate)
        except NoRoute as error:
            return self._shadow(None, Reason(error.reason))
        return self._shadow(*found) if found else self._shadow(None, None)

    def _found(
        self,
        eligible: Eligibility,
        facts: RequestFacts,
        estimator: Estimator | None,
        estimate: Estimate | None,
    ) -> tuple[Destination, Reason] | None:
        if (settled := eligible.settle()) is not None:
            return settled
        if stays_in_cloud(self._policy, facts.session_on):
            return Destination.CLOUD, Reason.SESSION_ESCALATED
        if self._policy.after_answer.look and facts.unseen and facts.has_form:
            return None
        if estimator is None:
            return Destination.DEVICE, Reason.NO_ESTIMATOR
        if not estimator.predictive and not self._policy.early_decode_tokens:
            return Destination.DEVICE, Reason.NOT_PREDICTIVE
        if estimate is None:
            return None
        found = weigh(self._policy, estimator, estimate, facts.circumstances, facts.category)
        if found.destination is Destination.DEVICE and looks_at_draft(self._policy, estimate):
            return None
        return found.destination, found.reason

    def _shadow(self, destination: Destination | None, reason: Reason | None) -> Shadow:
        return Shadow(policy_digest=self._policy.digest, destination=destination, reason=reason)
