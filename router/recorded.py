"""What a Decision records beside itself: how the request was asked, and a shadow's word."""

from dataclasses import dataclass
from typing import Any

from router.facts import RequestFacts
from router.strict import Fields, Malformed
from router.vocabulary import DataClass, Destination, Mode, Reason

__all__ = ["Asked", "Shadow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the app said of the request. ``consent`` ``None``: nobody was asked."""

    mode: Mode
    data_class: DataClass
    consent: bool | None

    @classmethod
    def of(cls, facts: RequestFacts) -> "Asked":
        return cls(mode=facts.mode, data_class=facts.data_class, consent=facts.consent)

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "mode": self.mode.value,
            "data_class": self.data_class.value,
            "consent": self.consent,
        }

    @classmethod
    def read(cls, fields: Fields) -> "Asked":
        """Raises ``Malformed``."""
        consent = fields.take("consent")
        if consent is not None and not isinstance(consent, bool):
            raise Malformed(fields.named("consent"), "must be true, false or null")
        asked = cls(
            mode=fields.word("mode", Mode),
            data_class=fields.word("data_class", DataClass),
            consent=consent,
        )
        fields.done()
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What a second policy says of the same request. It is recorded, and never acts.

    Without ``destination`` it names none: ``reason`` is the rule that left no route, or ``None``
    where it would have looked at signals that nobody measured for this request.
    """

    policy_digest: str
    destination: Destination | None
    reason: Reason | None

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "policy_digest": self.policy_digest,
            "route": self.destination.value if self.destination else None,
            "reason": self.reason.value if self.reason else None,
        }

    @classmethod
    def read(cls, fields: Fields) -> "Shadow":
        """Raises ``Malformed``."""
        shadow = cls(
            policy_digest=fields.text("policy_digest"),
            destination=fields.optional_word("route", Destination),
            reason=fields.optional_word("reason", Reason),
        )
        fields.done()
        return shadow
