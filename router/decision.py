"""The record of one routing decision: numbers, digests and closed words, never content.

A ``Decision`` that contradicts one of its own rule verdicts cannot be built, not even from JSON:
whatever a later stage computes, a rule that removed a destination stays the last word.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lanai.errors import RouteError
from router.bounds import Claim
from router.circumstances import Circumstances
from router.recorded import Asked, Graded, Models, Realized, Shadow
from router.strict import Fields, Malformed
from router.utility import Terms
from router.vocabulary import Destination, Reason, Stage

__all__ = ["EXTERNAL_RULE", "Decision", "RuleVerdict", "SignalReading"]

EXTERNAL_RULE: Final = "external"
"""Name of the one rule that can let a request outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVerdict:
    """What one rule of stage 0 says. ``reason`` is set when it removes a destination.

    ``allows_external`` ``None``: it says nothing of the endpoint outside.
    """

    name: str
    allows_device: bool
    allows_cloud: bool
    reason: Reason | None = None
    allows_external: bool | None = None

    def allows(self, destination: Destination) -> bool:
        if destination is Destination.EXTERNAL:
            return self.allows_external is not False
        return self.allows_device if destination is Destination.DEVICE else self.allows_cloud

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "allows_device": self.allows_device,
            "allows_cloud": self.allows_cloud,
            "reason": self.reason.value if self.reason else None,
        } | ({} if self.allows_external is None else {"allows_external": self.allows_external})

    @property
    def lets_outside(self) -> bool:
        """No other rule's silence is leave."""
        return self.name == EXTERNAL_RULE and self.allows_external is True

    @classmethod
    def read(cls, fields: Fields) -> "RuleVerdict":
        """Raises ``Malformed``."""
        verdict = cls(
            name=fields.text("name"),
            allows_device=fields.flag("allows_device"),
            allows_cloud=fields.flag("allows_cloud"),
            reason=fields.optional_word("reason", Reason),
            allows_external=fields.optional_flag("allows_external"),
        )
        fields.done()
        return verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReading:
    """One signal, measured. ``raw`` is ``None`` when the observation did not carry it.

    ``calibrated`` is P(the device's answer is good) given this signal alone, where it was fitted.
    """

    name: str
    raw: float | None
    calibrated: float | None
    cost_us: float

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "raw": self.raw,
            "calibrated": self.calibrated,
            "cost_us": self.cost_us,
        }

    @classmethod
    def _read(cls, fields: Fields) -> "SignalReading":
        reading = cls(
            name=fields.text("name"),
            raw=fields.optional_number("raw"),
            calibrated=fields.optional_number("calibrated"),
            cost_us=fields.number("cost_us"),
        )
        fields.done()
        return reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a request runs and why.

    ``confidence`` is P(the device's answer is good); the cloud is taken when it is below
    ``threshold``, which is P(the cloud's answer is good) less the benefit the policy asks for.
    Both are ``None`` when rules alone decided. ``utility``: the terms of that price; ``bound``:
    what the threshold promises, or why it promises nothing. ``decision_us`` is the router's own
    time, a shadow's included. ``id`` and ``realized`` are the agent's: the trace, and what came of
    it. ``graded`` is somebody's word on the answers, given later.
    Fields that default to ``None`` may be missing in older records.
    """

    destination: Destination
    stage: Stage
    reason: Reason
    confidence: float | None
    threshold: float | None
    counterfactual: str
    rules: tuple[RuleVerdict, ...]
    signals: tuple[SignalReading, ...]
    policy_digest: str
    estimator_digest: str | None
    decision_us: float
    asked: Asked | None = None
    shadow: Shadow | None = None
    id: str | None = None
    calibrator_digest: str | None = None
    models: Models | None = None
    circumstances: Circumstances | None = None
    utility: Terms | None = None
    bound: Claim | None = None
    hedged: bool | None = None
    realized: Realized | None = None
    graded: Graded | None = None

    def __post_init__(self) -> None:
        for verdict in self.rules:
            if not verdict.allows(self.destination):
                raise RouteError(f"decision contradicts the rule {verdict.name}")
        outside = self.destination is Destination.EXTERNAL
        if outside and not any(verdict.lets_outside for verdict in self.rules):
            raise RouteError("decision leaves for outside without the leave of a rule")

    def ended(self, trace_id: str, realized: Realized) -> "Decision":
        """The same, with its trace and what came of it."""
        return replace(self, id=trace_id, realized=realized)

    def judged(self, graded: Graded) -> "Decision":
        """The same, with what somebody found of the answers."""
        return replace(self, graded=graded)

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values; the destination's key is ``route``, as commands print it."""
        return {
            "route": self.destination.value,
            "stage": self.stage.value,
            "reason": self.reason.value,
            "confidence": self.confidence,
            "threshold": self.threshold,
            "counterfactual": self.counterfactual,
            "rules": [verdict.to_json_dict() for verdict in self.rules],
            "signals": [reading.to_json_dict() for reading in self.signals],
            "policy_digest": self.policy_digest,
            "estimator_digest": self.estimator_digest,
            "decision_us": self.decision_us,
            "id": self.id,
            "calibrator_digest": self.calibrator_digest,
            "hedged": self.hedged,
            **{name: part.to_json_dict() if part else None for name, part in self._parts().items()},
        }

    def _parts(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in _PARTS}

    @classmethod
    def from_json_dict(cls, value: Mapping[str, Any]) -> "Decision":
        """The exact inverse. Raises ``RouteError`` naming the key that is not as it should be.

        Fields that default to ``None`` may be missing: older records do not have them.
        """
        try:
            return cls._read(Fields(value))
        except Malformed as error:
            raise RouteError(f"stored decision is malformed: {error}") from None

    @classmethod
    def _read(cls, fields: Fields) -> "Decision":
        decision = cls(
            destination=fields.word("route", Destination),
            stage=fields.word("stage", Stage),
            reason=fields.word("reason", Reason),
            confidence=fields.optional_number("confidence"),
            threshold=fields.optional_number("threshold"),
            counterfactual=fields.text("counterfactual"),
            rules=tuple(RuleVerdict.read(each) for each in fields.each("rules")),
            signals=tuple(SignalReading._read(each) for each in fields.each("signals")),
            policy_digest=fields.text("policy_digest"),
            estimator_digest=fields.optional_text("estimator_digest"),
            decision_us=fields.number("decision_us"),
            id=fields.optional_text("id") if fields.has("id") else None,
            calibrator_digest=(
                fields.optional_text("calibrator_digest")
                if fields.has("calibrator_digest")
                else None
            ),
            hedged=fields.optional_flag("hedged"),
            **{
                name: None if (part := fields.part(name)) is None else read(part)
                for name, read in _PARTS.items()
            },
        )
        fields.done()
        return decision

    def explain(self) -> str:
        """The decision in plain sentences, for a person."""
        from router.sentences import explain  # sentences are built from decisions

        return explain(self)


_PARTS: Mapping[str, Callable[[Fields], Any]] = {
    "asked": Asked.read,
    "shadow": Shadow.read,
    "models": Models.read,
    "circumstances": Circumstances.read,
    "utility": Terms.read,
    "bound": Claim.read,
    "realized": Realized.read,
    "graded": Graded.read,
}
