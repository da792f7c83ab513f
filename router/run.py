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
from router.case import Case
from router.decision import Decision
from router.drafts import tripped
from router.facts import AnswerObservation, DecodeObservation, PrefillObservation, RequestFacts
from router.refusal import Refusal
from router.signals import ANSWER_SIGNALS, PREFILL_SIGNALS
from router.stopwatch import Stopwatch
from router.vocabulary import Destination, Reason, Stage
from router.weighing import looks_at_draft, stays_in_cloud

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
        self._policy = router.policy
        self._draft_signals = router.draft_signals
        self._case = Case(router, facts)
        self._open: Stage | None = Stage.ELIGIBILITY
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
        estimator = self._case.estimator
        return Observations(
            hidden_state=estimator is not None and estimator.hidden_state,
            statistics=estimator is not None or self._policy.early_decode_tokens > 0,
            early_decode_tokens=self._policy.early_decode_tokens,
            whole_answer=self._case.looks_at_answer,
        )

    @property
    def hedge(self) -> bool:
        """Is it close, and may a later stage still send it? Then a call may be opened ahead."""
        return self._open in (Stage.EARLY_DECODE, Stage.AFTER_ANSWER) and self._case.close

    def hedged(self) -> None:
        """The caller did open a call."""
        self._case.hedged = True

    def eligibility(self) -> Decision | None:
        """Stage 0. ``None``: both sides are left and the mode is auto. Raises ``NoRoute``."""
        with self._enter(Stage.ELIGIBILITY):
            case, settled = self._case, self._settle()
            if settled is None and stays_in_cloud(self._policy, case.facts.session_on):
                settled = Destination.CLOUD, Reason.SESSION_ESCALATED
            if settled is not None:
                return case.by_rule(settled[0], Stage.ELIGIBILITY, settled[1])
            self._open = Stage.PREFILL if case.estimator is not None else self._later()
            if self._open is None:
                return case.by_rule(Destination.DEVICE, Stage.ELIGIBILITY, Reason.NO_ESTIMATOR)
            return None

    def _settle(self) -> tuple[Destination, Reason] | None:
        try:
            return self._case.eligible.settle()
        except NoRoute as error:
            self.refusal = self._case.refuse(Reason(error.reason))
            raise

    def prefill(self, observation: PrefillObservation) -> Decision | None:
        """Stage 1. ``None``: look at an early draft, or at the answer."""
        with self._enter(Stage.PREFILL):
            case, estimator = self._case, self._case.known_estimator
            signals = (*PREFILL_SIGNALS, *estimator.probes)
            case.readings.measure(signals, observation, estimator)
            case.readings.measure(estimator.categories, case.facts, estimator)
            if case.weigh().destination is Destination.DEVICE:
                self._open = self._later()
                if self._open is not None:
                    return None
            return case.by_weighing(Stage.PREFILL)

    def _later(self) -> Stage | None:
        """What still looks at a request that the device keeps so far."""
        if looks_at_draft(self._policy, self._case.estimate):
            return Stage.EARLY_DECODE
        return Stage.AFTER_ANSWER if self._case.looks_at_answer else None

    def early_decode(self, observation: DecodeObservation) -> Decision | None:
        """Stage 2. ``None``: give more tokens, or the answer. The device keeps what never trips."""
        with self._enter(Stage.EARLY_DECODE):
            case, stage = self._case, Stage.EARLY_DECODE
            values = case.readings.measure(self._draft_signals, observation, None)
            trip = tripped(self._policy, values)
            if trip is not None and case.affordable:
                reason = Reason.EARLY_DECODE_TRIPPED
                return case.decide(Destination.CLOUD, stage, reason, trip.counterfactual)
            last = len(observation.ids) >= self._policy.early_decode_tokens
            if not (observation.finished or last):
                self._open = stage
                return None
            if case.looks_at_answer:
                self._open = Stage.AFTER_ANSWER
                return None
            otherwise = "would go to the cloud if its draft passed a limit of the policy"
            return case.decide(Destination.DEVICE, stage, Reason.CONFIDENT, otherwise)

    def after_answer(self, observation: AnswerObservation) -> Decision:
        """Stage 3, which always decides."""
        with self._enter(Stage.AFTER_ANSWER):
            case, stage = self._case, Stage.AFTER_ANSWER
            invalid = not observation.valid and self._policy.after_answer.escalate_invalid
            if invalid and case.affordable:
                return case.by_rule(Destination.CLOUD, stage, Reason.ANSWER_INVALID)
            estimator = case.estimator
            if estimator is None:
                return case.by_rule(Destination.DEVICE, stage, Reason.NO_ESTIMATOR)
            case.readings.measure(ANSWER_SIGNALS, observation, estimator)
            heads = estimator.after_answer
            if heads is not None and heads.predictive:
                case.weigh_answer(heads)
            return case.by_weighing(stage)

    def fall_back(self, cause: Reason, facts: RequestFacts) -> Decision | None:
        """After the cloud, or the endpoint outside, failed before its first byte.

        ``None`` when the rules forbid the device.

        ``cause`` is ``cloud_failed``, ``cloud_unreachable``, ``cloud_not_verified``, ``no_quota``,
        ``external_failed``, or ``no_consent`` when the app refused at the last moment; ``facts``
        are the request's, as they stand now.
        """
        case = self._case
        if case.sent_to in (None, Destination.DEVICE) or cause not in _FAILURES:
            raise UsageError("only a request sent away falls back, after a failure")
        with case.stopwatch:
            case.judge_again(facts)
            if not case.eligible.allows(Destination.DEVICE):
                return None
            return case.by_rule(Destination.DEVICE, Stage.FALLBACK, cause)

    def _enter(self, stage: Stage) -> Stopwatch:
        if self._open is not stage:
            raise UsageError(f"the stage {stage.value} is not open for this request")
        self._open = None
        return self._case.stopwatch
