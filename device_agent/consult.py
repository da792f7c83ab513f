"""The router's run with a span around each stage, and the decision that stands."""

from collections.abc import Callable

from device_agent.tracing import RequestTrace
from lanai.telemetry import Attr, Span
from router import (
    Decision,
    DecodeObservation,
    Observations,
    PrefillObservation,
    Reason,
    RequestFacts,
    RoutingRun,
    Stage,
)

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

    def eligibility(self) -> Decision | None:
        """Raises ``NoRoute``."""
        return self._stage(Stage.ELIGIBILITY, self._run.eligibility)

    def prefill(self, seen: PrefillObservation) -> Decision | None:
        return self._stage(Stage.PREFILL, lambda: self._run.prefill(seen))

    def early_decode(self, seen: DecodeObservation) -> Decision | None:
        return self._stage(Stage.EARLY_DECODE, lambda: self._run.early_decode(seen))

    def fall_back(self, cause: Reason, facts: RequestFacts) -> Decision | None:
        return self._stage(Stage.FALLBACK, lambda: self._run.fall_back(cause, facts))

    def _stage(self, stage: Stage, ask: Callable[[], Decision | None]) -> Decision | None:
        with self._trace.step(Span.ROUTE) as step:
            step.set(Attr.STAGE, stage.value)
            decision = ask()
            if decision is not None:
                self.decision = decision
                step.set(Attr.ROUTE, decision.destination.value)
                step.set(Attr.REASON, decision.reason.value)
                step.set(Attr.CONFIDENCE, decision.confidence)
                step.set(Attr.THRESHOLD, decision.threshold)
            return decision
