"""What a Decision records beside itself: the request as asked, a shadow's word, what came of it."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from router.facts import RequestFacts
from router.strict import Fields, Malformed
from router.vocabulary import DataClass, Destination, Finding, Mode, Reason

__all__ = ["Asked", "Graded", "Models", "Realized", "Shadow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the app said of the request, and what a detector found in it.

    ``consent`` ``None``: nobody was asked. ``category`` only where the estimator knows it: it is
    then a word of the estimator's, not of the app's.
    """

    mode: Mode
    data_class: DataClass
    consent: bool | None
    found: tuple[Finding, ...] = ()
    detector_us: float | None = None
    category: str | None = None

    @classmethod
    def of(cls, facts: RequestFacts, category: str | None = None) -> "Asked":
        return cls(
            mode=facts.mode,
            data_class=facts.data_class,
            consent=facts.consent,
            found=facts.found,
            detector_us=facts.detector_us,
            category=category,
        )

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "mode": self.mode.value,
            "data_class": self.data_class.value,
            "consent": self.consent,
            "found": [each.value for each in self.found],
            "detector_us": self.detector_us,
            "category": self.category,
        }

    @classmethod
    def read(cls, given: Fields) -> "Asked":
        """Raises ``Malformed``. What was found may be missing: older records do not have it."""
        consent = given.take("consent")
        if consent is not None and not isinstance(consent, bool):
            raise Malformed(given.named("consent"), "must be true, false or null")
        found = given.items("found") if given.has("found") else ()
        asked = cls(
            mode=given.word("mode", Mode),
            data_class=given.word("data_class", DataClass),
            consent=consent,
            found=tuple(Fields({"found": each}).word("found", Finding) for each in found),
            detector_us=given.optional_number("detector_us") if given.has("detector_us") else None,
            category=given.optional_text("category") if given.has("category") else None,
        )
        given.done()
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The pair the request was about: hashes where they are known, the cloud's name else.

    The cloud's is that of the model's folder, which verified releases name.
    """

    device_sha256: str | None
    cloud_sha256: str | None
    cloud: str | None

    @classmethod
    def of(cls, facts: RequestFacts) -> "Models":
        return cls(
            device_sha256=facts.device.weights_sha256,
            cloud_sha256=facts.cloud.weights_sha256 or facts.cloud.folder_sha256,
            cloud=facts.cloud.model,
        )

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, given: Fields) -> "Models":
        """Raises ``Malformed``."""
        models = cls(**{each.name: given.optional_text(each.name) for each in fields(cls)})
        given.done()
        return models


@dataclass(frozen=True, slots=True, kw_only=True)
class Realized:
    """What the request came to. ``outcome``: ``answered``, ``cancelled`` or an error's name."""

    outcome: str
    seconds: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    cloud_requests: int = 0
    """Sealed calls that were opened; each spent a token."""
    wasted_requests: int = 0
    """Of those, hedges that nobody needed."""
    money: float = 0.0
    """By the policy's tariff, wasted calls included."""
    bytes_sent: int = 0
    bytes_received: int = 0

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, given: Fields) -> "Realized":
        """Raises ``Malformed``."""
        realized = cls(
            outcome=given.text("outcome"),
            seconds=given.number("seconds"),
            money=given.number("money"),
            input_tokens=_optional_count(given, "input_tokens"),
            output_tokens=_optional_count(given, "output_tokens"),
            cloud_requests=given.integer("cloud_requests"),
            wasted_requests=given.integer("wasted_requests"),
            bytes_sent=given.integer("bytes_sent"),
            bytes_received=given.integer("bytes_received"),
        )
        given.done()
        return realized


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """What somebody found of the answers afterwards; ``None``: that side's is not known."""

    device_good: bool | None
    cloud_good: bool | None

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, given: Fields) -> "Graded":
        """Raises ``Malformed``."""
        graded = cls(
            device_good=given.optional_flag("device_good"),
            cloud_good=given.optional_flag("cloud_good"),
        )
        given.done()
        return graded


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
    def read(cls, given: Fields) -> "Shadow":
        """Raises ``Malformed``."""
        shadow = cls(
            policy_digest=given.text("policy_digest"),
            destination=given.optional_word("route", Destination),
            reason=given.optional_word("reason", Reason),
        )
        given.done()
        return shadow


def _optional_count(given: Fields, name: str) -> int | None:
    value = given.optional_number(name)
    return None if value is None else int(value)
