"""What a policy makes of an estimate: the one comparison that runs, shadows and replays share.

1. Terms: what the policy asks for, plus λ times what the cloud costs at this moment.
2. A guarantee the policy wants may only lower that price: it sends more, never less.
3. A benefit above the price goes to the cloud, while the day's money lasts.
"""

from dataclasses import dataclass, replace

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

__all__ = [
    "ShadowPolicy",
    "Weighed",
    "looks_at_answer",
    "looks_at_draft",
    "never_sends",
    "stays_in_cloud",
    "weigh",
    "weigh_answer",
]


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
) -> Weighed:
    """By what the prefill showed."""
    terms = terms_of(policy.costs, policy.escalate_above_benefit, estimate.benefit, seen)
    price = _price(policy, estimator, terms, category)
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


def weigh_answer(
    policy: Policy, before: Weighed, estimate: Estimate, seen: Circumstances
) -> Weighed:
    """By heads over the whole answer that were found to tell; ``before`` kept it so far.

    What was claimed before stands: of the requests that it is about these heads only send more.
    They were calibrated for no bound of their own, so a wanted one moves nothing here.
    """
    terms = terms_of(policy.costs, policy.escalate_above_benefit, estimate.benefit, seen)
    destination, reason = _chosen(policy, estimate, terms, terms.price, seen)
    return replace(before, destination=destination, reason=reason, terms=terms, price=terms.price)


def _price(
    policy: Policy, estimator: Estimator, terms: Terms, category: str | None
) -> float | None:
    """A bound is counted, not predicted: it holds for heads that were not found to tell, too."""
    asked = terms.price if estimator.predictive else None
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


def looks_at_draft(policy: Policy, estimate: Estimate | None) -> bool:
    """The limits are the policy's own: where nothing was estimated they hold all the same."""
    if not policy.early_decode_tokens:
        return False
    return estimate is None or estimate.benefit >= policy.look_from_benefit


def looks_at_answer(policy: Policy, facts: RequestFacts, estimator: Estimator | None) -> bool:
    """Only where that could change anything: a request with a form, or heads that can tell."""
    if not (policy.after_answer.look and facts.unseen):
        return False
    heads = estimator.after_answer if estimator else None
    return facts.has_form or (heads is not None and heads.predictive)


def never_sends(policy: Policy, estimator: Estimator) -> bool:
    """Whatever a prefill or draft shows: no head tells, no bound is wanted, no draft looked at."""
    able = estimator.predictive or policy.guarantee is not None
    return not able and not policy.early_decode_tokens


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
        """``estimator``: the one admitted for this pair; ``estimate``: the prefill's, if any."""
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
        policy, later = self._policy, looks_at_answer(self._policy, facts, estimator)
        if estimator is None:
            later = later or looks_at_draft(policy, None)
            return None if later else (Destination.DEVICE, Reason.NO_ESTIMATOR)
        if estimate is None:
            told = never_sends(policy, estimator) and not later
            return (Destination.DEVICE, Reason.NOT_PREDICTIVE) if told else None
        found = weigh(policy, estimator, estimate, facts.circumstances, facts.category)
        if found.destination is Destination.DEVICE and (later or looks_at_draft(policy, estimate)):
            return None
        return found.destination, found.reason

    def _shadow(self, destination: Destination | None, reason: Reason | None) -> Shadow:
        return Shadow(policy_digest=self._policy.digest, destination=destination, reason=reason)
