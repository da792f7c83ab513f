"""The router's run with a span around each stage, and the decision that stands."""

from collections.abc import Callable

from device_agent.tracing import RequestTrace, Step
from lanai.errors import NoRoute
from lanai.telemetry import Attr, Span
from router import (
    AnswerObservation,
    Decision,
    DecodeObservation,
    Observations,
    PrefillObservation,
    Reason,
    RequestFacts,
    RoutingRun,
    Stage,
)
from router.refusal import Refusal

__all__ = ["Consultation"]


class Consultation:
    """One request's way through the stages. ``decision`` is the last that fell."""

    def __init__(self, run: RoutingRun, trace: RequestTrace) -> None:
        self.decision: Decision | None = None
        self._run = run
        self._trace = trace

    @property
    def needs(self) -> Observations:
        return self._run.needs

    @property
    def open(self) -> Stage | None:
        """The stage that waits for its observation."""
        return self._run.open

    @property
    def hedge(self) -> bool:
        """Is it worth opening the sealed call now?"""
        return self._run.hedge

    def hedged(self) -> None:
        self._run.hedged()

    @property
    def refusal(self) -> Refusal | None:
        """Why there was no route."""
        return self._run.refusal

    def eligibility(self) -> Decision | None:
        """Raises ``NoRoute``."""
        return self._stage(Stage.ELIGIBILITY, self._run.eligibility)

    def prefill(self, seen: PrefillObservation) -> Decision | None:
        return self._stage(Stage.PREFILL, lambda: self._run.prefill(seen))

    def early_decode(self, seen: DecodeObservation) -> Decision | None:
        return self._stage(Stage.EARLY_DECODE, lambda: self._run.early_decode(seen))

    def after_answer(self, seen: AnswerObservation) -> Decision | None:
        return self._stage(Stage.AFTER_ANSWER, lambda: self._run.after_answer(seen))

    def fall_back(self, cause: Reason, facts: RequestFacts) -> Decision | None:
        return self._stage(Stage.FALLBACK, lambda: self._run.fall_back(cause, facts))

    def _stage(self, stage: Stage, ask: Callable[[], Decision | None]) -> Decision | None:
        with self._trace.step(Span.ROUTE) as step:
            step.set(Attr.STAGE, stage.value)
            try:
                decision = ask()
            except NoRoute as error:
                step.set(Attr.REASON, error.reason)
                raise
            if decision is not None:
                self.decision = decision
                step.set(Attr.ROUTE, decision.destination.value)
                step.set(Attr.REASON, decision.reason.value)
                step.set(Attr.CONFIDENCE, decision.confidence)
                step.set(Attr.THRESHOLD, decision.threshold)
                _describe(step, decision)
            return decision


def _describe(step: Step, decision: Decision) -> None:
    """By what the decision stands: digests, price, what is promised."""
    terms, bound, asked = decision.utility, decision.bound, decision.asked
    step.set(Attr.POLICY, decision.policy_digest)
    step.set(Attr.ESTIMATOR, decision.estimator_digest)
    step.set(Attr.CALIBRATOR, decision.calibrator_digest)
    step.set(Attr.DECISION_US, decision.decision_us)
    if asked is not None:
        step.set(Attr.FINDINGS, len(asked.found))
        step.set(Attr.DETECTOR_US, asked.detector_us)
    if terms is not None:
        step.set(Attr.BENEFIT, terms.benefit)
        step.set(Attr.PRICE, terms.price)
    if bound is not None:
        step.set(Attr.ALPHA, bound.alpha)
        step.set(Attr.BOUND_REFUSED, bound.refused.value if bound.refused else None)
    if decision.circumstances is not None:
        step.set(Attr.DRIFTED, decision.circumstances.drifted)
