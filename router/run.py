"""One request's run through the router's stages.

    0. Eligibility: rules remove destinations; a mode that prefers one side decides here.
    1. Prefill: the estimator compares both sides; its benefit is held against the policy.
    2. Early decode: a buffered draft may trip; after its last token the device keeps the request.
    Fall back: after a cloud failure before its first byte, where the rules allow the device.

Each stage decides or passes on. The caller must act on the decision: show nothing of a draft before
it, and never change the source after the first character.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lanai.errors import UsageError
from router.decision import Decision
from router.drafts import tripped
from router.eligibility import judge
from router.estimator import Estimate, Estimator
from router.facts import DecodeObservation, PrefillObservation, RequestFacts
from router.readings import Readings
from router.recorded import Asked, Shadow
from router.sentences import rule_counterfactual, weighed_counterfactual
from router.signals import PREFILL_SIGNALS
from router.stopwatch import Stopwatch
from router.vocabulary import Destination, Reason, Stage

if TYPE_CHECKING:  # a router begins runs, a run reads its router
    from router.routing import Router

__all__ = ["Observations", "RoutingRun"]

_FAILURES = frozenset(
    {Reason.CLOUD_FAILED, Reason.CLOUD_UNREACHABLE, Reason.CLOUD_NOT_VERIFIED, Reason.NO_QUOTA}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What the router asks the engine for. Nothing, once it has decided."""

    hidden_state: bool = False
    statistics: bool = False
    early_decode_tokens: int = 0


class RoutingRun:
    """One request. Call ``eligibility``; while a stage returns ``None``, observe and call the next.

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
        self._shadow: Shadow | None = None

    @property
    def needs(self) -> Observations:
        """What to observe for the stages still open."""
        if self._estimator is None or self._open not in (Stage.PREFILL, Stage.EARLY_DECODE):
            return Observations()
        return Observations(
            hidden_state=self._estimator.hidden_state,
            statistics=True,
            early_decode_tokens=self._policy.early_decode_tokens,
        )

    def eligibility(self) -> Decision | None:
        """Stage 0. ``None``: both sides are left and the mode is auto. Raises ``NoRoute``."""
        with self._enter(Stage.ELIGIBILITY):
            settled = self._eligible.settle()
            if settled is not None:
                return self._by_rule(settled[0], Stage.ELIGIBILITY, settled[1])
            if self._estimator is None:
                return self._by_rule(Destination.DEVICE, Stage.ELIGIBILITY, Reason.NO_ESTIMATOR)
            self._open = Stage.PREFILL
            return None

    def prefill(self, observation: PrefillObservation) -> Decision | None:
        """Stage 1. ``None``: look at an early draft."""
        with self._enter(Stage.PREFILL):
            estimate = self._weigh(observation)
            threshold = self._threshold()
            if threshold is not None and estimate.device_good < threshold:
                return self._weighed(Destination.CLOUD, Reason.LOW_CONFIDENCE, threshold)
            policy = self._policy
            if policy.early_decode_tokens and estimate.benefit >= policy.look_from_benefit:
                self._open = Stage.EARLY_DECODE
                return None
            if threshold is None:
                return self._by_rule(Destination.DEVICE, Stage.PREFILL, Reason.NOT_PREDICTIVE)
            return self._weighed(Destination.DEVICE, Reason.CONFIDENT, threshold)

    def early_decode(self, observation: DecodeObservation) -> Decision | None:
        """Stage 2. ``None``: give more tokens. Decides at the policy's last, or when finished."""
        with self._enter(Stage.EARLY_DECODE):
            stage = Stage.EARLY_DECODE
            signals = self._router.draft_signals
            trip = tripped(self._policy, self._readings.measure(signals, observation, None))
            if trip is not None:
                reason = Reason.EARLY_DECODE_TRIPPED
                return self._decide(Destination.CLOUD, stage, reason, trip.counterfactual)
            if observation.finished or len(observation.ids) >= self._policy.early_decode_tokens:
                otherwise = "would go to the cloud if its draft passed a limit of the policy"
                return self._decide(Destination.DEVICE, stage, Reason.CONFIDENT, otherwise)
            self._open = stage
            return None

    def fall_back(self, cause: Reason, facts: RequestFacts) -> Decision | None:
        """After the cloud failed before its first byte; ``None`` when the rules forbid the device.

        ``cause`` is ``cloud_failed``, ``cloud_unreachable``, ``cloud_not_verified`` or
        ``no_quota``; ``facts`` are the request's, as they stand now.
        """
        if self._sent_to is not Destination.CLOUD or cause not in _FAILURES:
            raise UsageError("only a request sent to the cloud falls back, after a cloud failure")
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

    def _admitted(self) -> Estimator | None:
        """The router's estimator, if it was measured on this request's pair of models."""
        estimator = self._router.estimator
        return estimator if estimator and estimator.pair.admits(self._facts) else None

    def _weigh(self, observation: PrefillObservation) -> Estimate:
        if self._estimator is None:
            raise UsageError("no estimator fits this pair of models")
        signals = (*PREFILL_SIGNALS, *self._estimator.probes)
        values = self._readings.measure(signals, observation, self._estimator)
        self._estimate = self._estimator.estimate(values)
        return self._estimate

    def _threshold(self) -> float | None:
        """Confidence below which the cloud promises the benefit the policy asks for."""
        if self._estimator is None or self._estimate is None or not self._estimator.predictive:
            return None
        return self._estimate.cloud_good - self._policy.escalate_above_benefit

    def _weighed(self, destination: Destination, reason: Reason, threshold: float) -> Decision:
        confidence = self._estimate.device_good if self._estimate else 0.0
        otherwise = weighed_counterfactual(destination, confidence, threshold)
        return self._decide(destination, Stage.PREFILL, reason, otherwise)

    def _by_rule(self, destination: Destination, stage: Stage, reason: Reason) -> Decision:
        return self._decide(destination, stage, reason, rule_counterfactual(reason, self._facts))

    def _decide(
        self, destination: Destination, stage: Stage, reason: Reason, counterfactual: str
    ) -> Decision:
        estimate, estimator = self._estimate, self._estimator
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
            estimator_digest=estimator.digest if estimator and estimate else None,
            decision_us=self._stopwatch.us,
            asked=Asked.of(self._facts),
            shadow=self._shadow,
        )

    def _ask_shadow(self) -> None:
        """Once, by what was known when the request was first decided; a fall back keeps it."""
        if self._router.shadow is not None and self._shadow is None:
            self._shadow = self._router.shadow.word(self._facts, self._estimator, self._estimate)
