"""What is known of one request, stage after stage, and the records that are made of it."""

from typing import TYPE_CHECKING

from lanai.errors import UsageError
from router.decision import Decision
from router.eligibility import judge
from router.estimator import AfterAnswer, Estimate, Estimator
from router.facts import RequestFacts
from router.readings import Readings
from router.recorded import Asked, Models, Shadow
from router.refusal import Refusal
from router.sentences import rule_counterfactual, weighed_counterfactual
from router.stopwatch import Stopwatch
from router.vocabulary import Destination, Reason, Stage
from router.weighing import Weighed, affordable, looks_at_answer, weigh, weigh_answer

if TYPE_CHECKING:  # a router begins runs, a run's case reads its router
    from router.routing import Router

__all__ = ["Case"]


class Case:
    """Of one run, which says what to look at and when; nothing here opens a stage."""

    def __init__(self, router: "Router", facts: RequestFacts) -> None:
        self.policy = router.policy
        self.facts = facts
        self.stopwatch = Stopwatch(router.clock)
        self.readings = Readings(router.clock)
        self._router = router
        with self.stopwatch:
            self.eligible = judge(router.rules, facts)
        fits = router.estimator is not None and router.estimator.pair.admits(facts)
        self.estimator: Estimator | None = router.estimator if fits else None
        """The router's, if it was measured on this request's pair of models."""
        self.estimate: Estimate | None = None
        self._at_prefill: Estimate | None = None
        self.weighed: Weighed | None = None
        self.hedged: bool | None = None
        self.sent_to: Destination | None = None
        self._shadow: Shadow | None = None

    @property
    def known_estimator(self) -> Estimator:
        if self.estimator is None:
            raise UsageError("no estimator fits this pair of models")
        return self.estimator

    @property
    def affordable(self) -> bool:
        """Does the day's money reach for a call?"""
        return affordable(self.policy, self.facts.circumstances)

    @property
    def close(self) -> bool:
        """Is the benefit so near to its price that a call may be opened ahead?"""
        seen, estimate, reach = self.weighed, self.estimate, self.policy.hedge.within
        if not reach or seen is None or seen.price is None or estimate is None:
            return False
        return abs(estimate.benefit - seen.price) <= reach and self.affordable

    @property
    def looks_at_answer(self) -> bool:
        return looks_at_answer(self.policy, self.facts, self.estimator)

    def judge_again(self, facts: RequestFacts) -> None:
        """By the rules, as the request stands now."""
        self.facts = facts
        self.eligible = judge(self._router.rules, facts)

    def weigh(self) -> Weighed:
        """By what the prefill showed."""
        facts, estimator = self.facts, self.known_estimator
        self.readings.lack(estimator.signals)
        estimate = self.estimate = self._at_prefill = estimator.estimate(self.readings.values())
        self.weighed = weigh(self.policy, estimator, estimate, facts.circumstances, facts.category)
        return self.weighed

    def weigh_answer(self, heads: AfterAnswer) -> None:
        """By the whole answer, which the prefill's weighing had kept here."""
        if self.weighed is None:
            raise UsageError("an answer is weighed after its prefill")
        self.readings.lack(heads.signals)
        self.estimate = heads.estimate(self.readings.values())
        seen = self.facts.circumstances
        self.weighed = weigh_answer(self.policy, self.weighed, self.estimate, seen)

    def by_weighing(self, stage: Stage) -> Decision:
        found, threshold = self.weighed, self._threshold()
        if found is None or threshold is None or self.estimate is None:
            return self.by_rule(Destination.DEVICE, stage, Reason.NOT_PREDICTIVE)
        confidence = self.estimate.device_good
        otherwise = weighed_counterfactual(found.reason, confidence, threshold, found.terms)
        return self.decide(found.destination, stage, found.reason, otherwise)

    def by_rule(self, destination: Destination, stage: Stage, reason: Reason) -> Decision:
        return self.decide(destination, stage, reason, rule_counterfactual(reason, self.facts))

    def decide(
        self, destination: Destination, stage: Stage, reason: Reason, counterfactual: str
    ) -> Decision:
        estimate, weighed = self.estimate, self.weighed
        weighing = self.estimator if estimate else None
        self.sent_to = destination
        self._ask_shadow()
        return Decision(
            destination=destination,
            stage=stage,
            reason=reason,
            confidence=estimate.device_good if estimate else None,
            threshold=self._threshold(),
            counterfactual=counterfactual,
            rules=self.eligible.verdicts,
            signals=self.readings.all(),
            policy_digest=self.policy.digest,
            estimator_digest=weighing.digest if weighing else None,
            calibrator_digest=weighing.calibrator_digest if weighing else None,
            decision_us=self.stopwatch.us,
            asked=self._asked(),
            shadow=self._shadow,
            models=Models.of(self.facts),
            circumstances=self.facts.circumstances,
            utility=weighed.terms if weighed else None,
            bound=weighed.claim if weighed else None,
            hedged=self.hedged,
        )

    def refuse(self, reason: Reason) -> Refusal:
        """The record of a request that the rules left no place for."""
        return Refusal(
            reason=reason,
            rules=self.eligible.verdicts,
            policy_digest=self.policy.digest,
            decision_us=self.stopwatch.us,
            asked=self._asked(),
            models=Models.of(self.facts),
            circumstances=self.facts.circumstances,
        )

    def _threshold(self) -> float | None:
        """Confidence below which the cloud promises what the policy asks for."""
        if self.weighed is None or self.weighed.price is None or self.estimate is None:
            return None
        return self.estimate.cloud_good - self.weighed.price

    def _asked(self) -> Asked:
        estimator, category = self.estimator, self.facts.category
        return Asked.of(self.facts, estimator.known(category) if estimator else None)

    def _ask_shadow(self) -> None:
        """Once, by what was known when the request was first decided; a fall back keeps it."""
        if self._router.shadow is not None and self._shadow is None:
            self._shadow = self._router.shadow.word(self.facts, self.estimator, self._at_prefill)
