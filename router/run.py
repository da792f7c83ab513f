"""One request's run through the router's stages.

    0. Eligibility: rules remove destinations; a mode that prefers one side decides here, and so
       does a conversation that already went to the cloud.
    1. Prefill: the estimator compares both sides; the benefit is held against the policy's price.
    2. Early decode: a buffered draft may trip.
    3. After the answer, where nobody has seen a character of it: validators, then the heads that
       know the whole answer's statistics.
    Fall back: after a cloud failure before its first byte, where the rules allow the device.

Each stage decides or opens a later one; the device keeps what no stage sends. The caller must act
on the decision: show nothing of a draft before it, and never change the source after the first
character.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lanai.errors import NoRoute, UsageError
from router.decision import Decision
from router.drafts import tripped
from router.eligibility import judge
from router.estimator import Estimate, Estimator
from router.facts import AnswerObservation, DecodeObservation, PrefillObservation, RequestFacts
from router.readings import Readings
from router.recorded import Asked, Models, Shadow
from router.refusal import Refusal
from router.sentences import rule_counterfactual, weighed_counterfactual
from router.signals import ANSWER_SIGNALS, PREFILL_SIGNALS
from router.stopwatch import Stopwatch
from router.vocabulary import Destination, Reason, Stage
from router.weighing import Weighed, affordable, looks_at_draft, stays_in_cloud, weigh

if TYPE_CHECKING:  # a router begins runs, a run reads its router
    from router.routing import Router

__all__ = ["Observations", "RoutingRun"]

_FAILURES = frozenset(
    {
        Reason.CLOUD_FAILED,
        Reason.CLOUD_UNREACHABLE,
        Reason.CLOUD_NOT_VERIFIED,
        Reason.NO_QUOTA,
        Reason.NO_CONSENT,
        Reason.EXTERNAL_FAILED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What the router asks the engine for. Nothing, once it has decided."""

    hidden_state: bool = False
    statistics: bool = False
    early_decode_tokens: int = 0
    whole_answer: bool = False


class RoutingRun:
    """One request. Call ``eligibility``; while a stage gives ``None``, observe what ``open`` says.

    Calls out of order are a ``UsageError``. Not for use from several threads.
    """

    def __init__(self, router: "Router", facts: RequestFacts) -> None:
        self._router = router
        self._policy = router.policy
        self._facts = facts
        self._stopwatch = Stopwatch(router.clock)
        self._readings = Readings(router.clock)
        with self._stopwatch:
            self._eligible = judge(router.rules, facts)
        self._open: Stage | None = Stage.ELIGIBILITY
        self._sent_to: Destination | None = None
        self._estimator = self._admitted()
        self._estimate: Estimate | None = None
        self._weighed: Weighed | None = None
        self._hedged: bool | None = None
        self._shadow: Shadow | None = None
        self.refusal: Refusal | None = None
        """Why there was no route, once ``eligibility`` raised ``NoRoute``."""

    @property
    def open(self) -> Stage | None:
        """The stage that waits for its observation."""
        return self._open

    @property
    def needs(self) -> Observations:
        """What to observe for the stages still open."""
        if self._open in (None, Stage.ELIGIBILITY):
            return Observations()
        return Observations(
            hidden_state=self._estimator is not None and self._estimator.hidden_state,
            statistics=self._estimator is not None,
            early_decode_tokens=self._policy.early_decode_tokens if self._estimator else 0,
            whole_answer=self._looks_at_answer,
        )

    @property
    def hedge(self) -> bool:
        """Is it close, and may a later stage still send it? Then a call may be opened ahead."""
        seen, estimate, reach = self._weighed, self._estimate, self._policy.hedge.within
        if self._open not in (Stage.EARLY_DECODE, Stage.AFTER_ANSWER) or not reach:
            return False
        if seen is None or seen.price is None or estimate is None:
            return False
        near = abs(estimate.benefit - seen.price) <= reach
        return near and affordable(self._policy, self._facts.circumstances)

    def hedged(self) -> None:
        """The caller did open a call."""
        self._hedged = True

    def eligibility(self) -> Decision | None:
        """Stage 0. ``None``: both sides are left and the mode is auto. Raises ``NoRoute``."""
        with self._enter(Stage.ELIGIBILITY):
            settled = self._settle()
            if settled is None and stays_in_cloud(self._policy, self._facts.session_on):
                settled = Destination.CLOUD, Reason.SESSION_ESCALATED
            if settled is not None:
                return self._by_rule(settled[0], Stage.ELIGIBILITY, settled[1])
            if self._estimator is not None:
                self._open = Stage.PREFILL
            elif self._looks_at_answer:
                self._open = Stage.AFTER_ANSWER
            else:
                return self._by_rule(Destination.DEVICE, Stage.ELIGIBILITY, Reason.NO_ESTIMATOR)
            return None

    def _settle(self) -> tuple[Destination, Reason] | None:
        try:
            return self._eligible.settle()
        except NoRoute as error:
            self.refusal = Refusal(
                reason=Reason(error.reason),
                rules=self._eligible.verdicts,
                policy_digest=self._policy.digest,
                decision_us=self._stopwatch.us,
                asked=self._asked(),
                models=Models.of(self._facts),
                circumstances=self._facts.circumstances,
            )
            raise

    def prefill(self, observation: PrefillObservation) -> Decision | None:
        """Stage 1. ``None``: look at an early draft, or at the answer."""
        with self._enter(Stage.PREFILL):
            estimator = self._known_estimator()
            signals = (*PREFILL_SIGNALS, *estimator.probes)
            self._readings.measure(signals, observation, estimator)
            self._readings.measure(estimator.categories, self._facts, estimator)
            estimate = self._estimate = estimator.estimate(self._readings.values())
            found = self._weigh(estimator, estimate)
            if found.destination is Destination.DEVICE:
                if looks_at_draft(self._policy, estimate):
                    self._open = Stage.EARLY_DECODE
                elif self._looks_at_answer:
                    self._open = Stage.AFTER_ANSWER
                if self._open is not None:
                    return None
            return self._by_weighing(Stage.PREFILL)

    def early_decode(self, observation: DecodeObservation) -> Decision | None:
        """Stage 2. ``None``: give more tokens, or the answer. The device keeps what never trips."""
        with self._enter(Stage.EARLY_DECODE):
            stage = Stage.EARLY_DECODE
            signals = self._router.draft_signals
            trip = tripped(self._policy, self._readings.measure(signals, observation, None))
            if trip is not None and affordable(self._policy, self._facts.circumstances):
                reason = Reason.EARLY_DECODE_TRIPPED
                return self._decide(Destination.CLOUD, stage, reason, trip.counterfactual)
            last = len(observation.ids) >= self._policy.early_decode_tokens
            if not (observation.finished or last):
                self._open = stage
                return None
            if self._looks_at_answer:
                self._open = Stage.AFTER_ANSWER
                return None
            otherwise = "would go to the cloud if its draft passed a limit of the policy"
            return self._decide(Destination.DEVICE, stage, Reason.CONFIDENT, otherwise)

    def after_answer(self, observation: AnswerObservation) -> Decision:
        """Stage 3, which always decides."""
        with self._enter(Stage.AFTER_ANSWER):
            stage, policy = Stage.AFTER_ANSWER, self._policy
            invalid = not observation.valid and policy.after_answer.escalate_invalid
            if invalid and affordable(policy, self._facts.circumstances):
                return self._by_rule(Destination.CLOUD, stage, Reason.ANSWER_INVALID)
            estimator = self._estimator
            if estimator is None:
                return self._by_rule(Destination.DEVICE, stage, Reason.NO_ESTIMATOR)
            self._readings.measure(ANSWER_SIGNALS, observation, estimator)
            if (heads := estimator.after_answer) is not None:
                self._estimate = heads.estimate(self._readings.values())
                self._weigh(estimator, self._estimate, predictive=heads.predictive)
            return self._by_weighing(stage)

    def fall_back(self, cause: Reason, facts: RequestFacts) -> Decision | None:
        """After the cloud, or the endpoint outside, failed before its first byte.

        ``None`` when the rules forbid the device.

        ``cause`` is ``cloud_failed``, ``cloud_unreachable``, ``cloud_not_verified``, ``no_quota``,
        ``external_failed``, or ``no_consent`` when the app refused at the last moment; ``facts``
        are the request's, as they stand now.
        """
        if self._sent_to in (None, Destination.DEVICE) or cause not in _FAILURES:
            raise UsageError("only a request sent away falls back, after a failure")
        with self._stopwatch:
            self._facts = facts
            self._eligible = judge(self._router.rules, facts)
            if not self._eligible.allows(Destination.DEVICE):
                return None
            return self._by_rule(Destination.DEVICE, Stage.FALLBACK, cause)

    def _enter(self, stage: Stage) -> Stopwatch:
        if self._open is not stage:
            raise UsageError(f"the stage {stage.value} is not open for this request")
        self._open = None
        return self._stopwatch

    @property
    def _looks_at_answer(self) -> bool:
        """Only where that could change anything: a request with a form, or heads that can tell."""
        if not (self._policy.after_answer.look and self._facts.unseen):
            return False
        heads = self._estimator.after_answer if self._estimator else None
        return self._facts.has_form or (heads is not None and heads.predictive)

    def _admitted(self) -> Estimator | None:
        """The router's estimator, if it was measured on this request's pair of models."""
        estimator = self._router.estimator
        return estimator if estimator and estimator.pair.admits(self._facts) else None

    def _known_estimator(self) -> Estimator:
        if self._estimator is None:
            raise UsageError("no estimator fits this pair of models")
        return self._estimator

    def _weigh(
        self, estimator: Estimator, estimate: Estimate, *, predictive: bool | None = None
    ) -> Weighed:
        self._weighed = weigh(
            self._policy,
            estimator,
            estimate,
            self._facts.circumstances,
            self._facts.category,
            predictive=predictive,
        )
        return self._weighed

    def _threshold(self) -> float | None:
        """Confidence below which the cloud promises what the policy asks for."""
        if self._weighed is None or self._weighed.price is None or self._estimate is None:
            return None
        return self._estimate.cloud_good - self._weighed.price

    def _by_weighing(self, stage: Stage) -> Decision:
        found, threshold = self._weighed, self._threshold()
        if found is None or threshold is None or self._estimate is None:
            return self._by_rule(Destination.DEVICE, stage, Reason.NOT_PREDICTIVE)
        confidence = self._estimate.device_good
        otherwise = weighed_counterfactual(found.reason, confidence, threshold, found.terms)
        return self._decide(found.destination, stage, found.reason, otherwise)

    def _by_rule(self, destination: Destination, stage: Stage, reason: Reason) -> Decision:
        return self._decide(destination, stage, reason, rule_counterfactual(reason, self._facts))

    def _decide(
        self, destination: Destination, stage: Stage, reason: Reason, counterfactual: str
    ) -> Decision:
        estimate, estimator, weighed = self._estimate, self._estimator, self._weighed
        weighing = estimator if estimate else None
        self._sent_to = destination
        self._ask_shadow()
        return Decision(
            destination=destination,
            stage=stage,
            reason=reason,
            confidence=estimate.device_good if estimate else None,
            threshold=self._threshold(),
            counterfactual=counterfactual,
            rules=self._eligible.verdicts,
            signals=self._readings.all(),
            policy_digest=self._policy.digest,
            estimator_digest=weighing.digest if weighing else None,
            calibrator_digest=weighing.calibrator_digest if weighing else None,
            decision_us=self._stopwatch.us,
            asked=self._asked(),
            shadow=self._shadow,
            models=Models.of(self._facts),
            circumstances=self._facts.circumstances,
            utility=weighed.terms if weighed else None,
            bound=weighed.claim if weighed else None,
            hedged=self._hedged,
        )

    def _asked(self) -> Asked:
        estimator, category = self._estimator, self._facts.category
        return Asked.of(self._facts, estimator.known(category) if estimator else None)

    def _ask_shadow(self) -> None:
        """Once, by what was known when the request was first decided; a fall back keeps it."""
        if self._router.shadow is not None and self._shadow is None:
            self._shadow = self._router.shadow.word(self._facts, self._estimator, self._estimate)
