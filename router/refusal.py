"""The record of a request for which the rules left no place: as content-free as a Decision.

Nothing ran and nothing left the device. Stored where a Decision would be, with ``route`` null.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lanai.errors import RouteError
from router.circumstances import Circumstances
from router.decision import Decision, RuleVerdict
from router.recorded import Asked, Models
from router.strict import Fields, Malformed
from router.vocabulary import Destination, Reason, Stage

__all__ = ["Refusal", "read_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request ran nowhere. ``reason`` is the one that the app is told as the error's."""

    reason: Reason
    rules: tuple[RuleVerdict, ...]
    policy_digest: str
    decision_us: float
    asked: Asked
    models: Models
    circumstances: Circumstances
    id: str | None = None

    def why_not(self, destination: Destination) -> Reason | None:
        """The first rule's reason against it."""
        return next((v.reason for v in self.rules if not v.allows(destination)), None)

    def ended(self, trace_id: str) -> "Refusal":
        """The same, with its trace."""
        return replace(self, id=trace_id)

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values, under a Decision's keys."""
        return {
            "route": None,
            "stage": Stage.ELIGIBILITY.value,
            "reason": self.reason.value,
            "counterfactual": "",
            "rules": [verdict.to_json_dict() for verdict in self.rules],
            "policy_digest": self.policy_digest,
            "decision_us": self.decision_us,
            "asked": self.asked.to_json_dict(),
            "models": self.models.to_json_dict(),
            "circumstances": self.circumstances.to_json_dict(),
            "id": self.id,
        }

    @classmethod
    def from_json_dict(cls, value: Mapping[str, Any]) -> "Refusal":
        """The exact inverse. Raises ``RouteError`` naming the key that is not as it should be."""
        try:
            return cls._read(Fields(value))
        except Malformed as error:
            raise RouteError(f"stored refusal is malformed: {error}") from None

    @classmethod
    def _read(cls, fields: Fields) -> "Refusal":
        for key, expected in (
            ("route", None),
            ("stage", Stage.ELIGIBILITY),
            ("counterfactual", ""),
        ):
            if fields.take(key) != expected:
                raise Malformed(key, "is not that of a refusal")
        refusal = cls(
            reason=fields.word("reason", Reason),
            rules=tuple(RuleVerdict.read(each) for each in fields.each("rules")),
            policy_digest=fields.text("policy_digest"),
            decision_us=fields.number("decision_us"),
            asked=Asked.read(fields.fields("asked")),
            models=Models.read(fields.fields("models")),
            circumstances=Circumstances.read(fields.fields("circumstances")),
            id=fields.optional_text("id"),
        )
        fields.done()
        return refusal

    def explain(self) -> str:
        """The refusal in plain sentences, for a person."""
        from router.sentences import explain_refusal  # sentences are built from records

        return explain_refusal(self)


def read_record(value: Mapping[str, Any]) -> Decision | Refusal:
    """What was stored of one request. Raises ``RouteError``."""
    if value.get("route", "") is None:
        return Refusal.from_json_dict(value)
    return Decision.from_json_dict(value)
