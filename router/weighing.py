"""What a policy makes of rules and an estimate that are known, outside of a live run.

Replays and shadows ask here; a live run walks the same comparisons stage by stage.
"""

from lanai.errors import NoRoute
from router.eligibility import Eligibility, judge
from router.estimator import Estimate, Estimator
from router.facts import RequestFacts
from router.policy import Policy
from router.recorded import Shadow
from router.rules import rules_of
from router.vocabulary import Destination, Reason

__all__ = ["ShadowPolicy", "weigh"]


def weigh(
    estimate: Estimate | None, policy: Policy, *, predictive: bool
) -> tuple[Destination, Reason] | None:
    """A run's comparison at prefill. ``None``: it needs an estimate, or looks at a draft first."""
    if not predictive and not policy.early_decode_tokens:
        return Destination.DEVICE, Reason.NOT_PREDICTIVE
    if estimate is None:
        return None
    threshold = estimate.cloud_good - policy.escalate_above_benefit
    if predictive and estimate.device_good < threshold:
        return Destination.CLOUD, Reason.LOW_CONFIDENCE
    if policy.early_decode_tokens and estimate.benefit >= policy.look_from_benefit:
        return None
    return Destination.DEVICE, Reason.CONFIDENT if predictive else Reason.NOT_PREDICTIVE


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
            found = self._found(judge(self._rules, facts), estimator, estimate)
        except NoRoute as error:
            return self._shadow(None, Reason(error.reason))
        return self._shadow(*found) if found else self._shadow(None, None)

    def _found(
        self, eligible: Eligibility, estimator: Estimator | None, estimate: Estimate | None
    ) -> tuple[Destination, Reason] | None:
        if (settled := eligible.settle()) is not None:
            return settled
        if estimator is None:
            return Destination.DEVICE, Reason.NO_ESTIMATOR
        return weigh(estimate, self._policy, predictive=estimator.predictive)

    def _shadow(self, destination: Destination | None, reason: Reason | None) -> Shadow:
        return Shadow(policy_digest=self._policy.digest, destination=destination, reason=reason)
