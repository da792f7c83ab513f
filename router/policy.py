"""The routing policy: data in TOML, strict, with a digest that each decision carries.

A policy sets thresholds and what consent may be assumed. It cannot weaken a rule: secret data and a
user's refusal stay where they are whatever it says. Errors name the key and its line.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from lanai.errors import ConfigError
from router.policy_parts import (
    AfterAnswer,
    Budget,
    Costs,
    Guarantee,
    Hedge,
    Raised,
    Sessions,
    Unsound,
    within,
)
from router.strict import Fields, Malformed
from router.toml_lines import line_of
from router.vocabulary import DataClass

__all__ = ["SCHEMA", "Policy"]

SCHEMA = "lanai.policy/1"
MAX_BYTES = 1 << 16
MAX_DRAFT_TOKENS = 256
TRIPS = ("entropy_above", "margin_below", "repetition_above")


OPTIONAL: Mapping[str, tuple[str, Callable[[Fields], Any]]] = {
    "data_class": ("raised", Raised.read),
    "costs": ("costs", Costs.read),
    "budget": ("budget", Budget.read),
    "session": ("session", Sessions.read),
    "hedge": ("hedge", Hedge.read),
    "after_answer": ("after_answer", AfterAnswer.read),
    "guarantee": ("guarantee", Guarantee.read),
}
"""Sections that may be left out: the policy's field, and what reads it."""


@dataclass(frozen=True, kw_only=True)  # no slots: the digest is computed once and kept
class Policy:
    """One validated policy. Probabilities and benefits are in [−1, 1], entropies in nats."""

    consent_assumed_for: frozenset[DataClass]
    escalate_above_benefit: float
    early_decode_tokens: int
    early_decode_window: int
    look_from_benefit: float
    entropy_above: float | None = None
    margin_below: float | None = None
    repetition_above: float | None = None
    raised: Raised = field(default_factory=Raised)
    costs: Costs = field(default_factory=Costs)
    budget: Budget | None = None
    session: Sessions = field(default_factory=Sessions)
    hedge: Hedge = field(default_factory=Hedge)
    after_answer: AfterAnswer = field(default_factory=AfterAnswer)
    guarantee: Guarantee | None = None

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` on a value out of range or a contradiction."""
        _check(self)

    @classmethod
    def load(cls, path: Path | None = None) -> "Policy":
        """Read ``path``, or the shipped policy. Raises ``ConfigError`` naming line and key."""
        if path is None:
            return cls.parse(_shipped(), name="the shipped policy")
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            return cls.parse(text.decode("utf-8"), name=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the policy {path}: {type(error).__name__}",
                hint="check the setting policy_file",
            ) from error

    @classmethod
    def parse(cls, text: str, *, name: str = "policy") -> "Policy":
        """Read TOML text. Raises ``ConfigError`` naming line and key."""
        if len(text) > MAX_BYTES:
            raise ConfigError(f"{name}: a policy has at most {MAX_BYTES} bytes")
        try:
            return _read(Fields(tomllib.loads(text)))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{name}: {error}") from None
        except (ValueError, RecursionError):
            raise ConfigError(f"{name}: a number is too long, or a list too deep") from None
        except (Malformed, Unsound) as error:
            raise ConfigError(
                f"{name}, line {line_of(error.key, text)}: {error.key} {error.problem}",
                hint="router/default_policy.toml lists every key",
            ) from None

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical form: sorted JSON of the values, comments left out."""
        values = asdict(self) | {
            "consent_assumed_for": sorted(self.consent_assumed_for),
            "raised": dict(self.raised.by),
            "schema": SCHEMA,
        }
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def _read(fields: Fields) -> Policy:
    if fields.text("schema") != SCHEMA:
        raise Malformed("schema", f'must be "{SCHEMA}"')
    consent, prefill = fields.fields("consent"), fields.fields("prefill")
    early = fields.fields("early_decode")
    optional = {section: fields.fields(section) for section in OPTIONAL if fields.has(section)}
    assumed_for = _data_classes(consent)
    escalate_above_benefit = prefill.number("escalate_above_benefit")
    tokens, window = early.integer("tokens"), early.integer("window")
    look_from_benefit = early.number("look_from_benefit")
    trips: dict[str, Any] = {trip: early.number(trip) for trip in TRIPS if early.has(trip)}
    parts = {OPTIONAL[name][0]: OPTIONAL[name][1](part) for name, part in optional.items()}
    for part in (consent, prefill, early, *optional.values(), fields):
        part.done()
    return Policy(
        consent_assumed_for=assumed_for,
        escalate_above_benefit=escalate_above_benefit,
        early_decode_tokens=tokens,
        early_decode_window=window,
        look_from_benefit=look_from_benefit,
        **trips,
        **parts,
    )


def _data_classes(fields: Fields) -> frozenset[DataClass]:
    words = fields.items("assumed_for")
    if not all(isinstance(word, str) and word in list(DataClass) for word in words):
        raise Malformed("consent.assumed_for", f"takes {', '.join(DataClass)}")
    return frozenset(DataClass(str(word)) for word in words)


def _shipped() -> str:
    return resources.files("router").joinpath("default_policy.toml").read_text(encoding="utf-8")


def _check(policy: Policy) -> None:
    """Ranges first, then contradictions. Raises ``Unsound`` naming the key."""
    if DataClass.SECRET in policy.consent_assumed_for:
        raise Unsound("consent.assumed_for", "secret data never leaves the device")
    within("prefill.escalate_above_benefit", policy.escalate_above_benefit, -1, 1)
    within("early_decode.tokens", policy.early_decode_tokens, 0, MAX_DRAFT_TOKENS)
    within("early_decode.window", policy.early_decode_window, 1, MAX_DRAFT_TOKENS)
    within("early_decode.look_from_benefit", policy.look_from_benefit, -1, 1)
    for trip, high in zip(TRIPS, (20.0, 1.0, 1.0), strict=True):
        if (value := getattr(policy, trip)) is not None:
            within(f"early_decode.{trip}", value, 0, high)
    _check_early_decode(policy)
    policy.raised.check()
    policy.costs.check()
    if policy.budget is not None:
        policy.budget.check(policy.costs)
    if policy.guarantee is not None:
        policy.guarantee.check()
    _check_hedge(policy)


def _check_hedge(policy: Policy) -> None:
    within("hedge.within", policy.hedge.within, 0, 1)
    looks_later = policy.early_decode_tokens or policy.after_answer.look
    if policy.hedge.within and not looks_later:
        raise Unsound("hedge.within", "opens a call that no later stage could use")


def _check_early_decode(policy: Policy) -> None:
    trips = [trip for trip in TRIPS if getattr(policy, trip) is not None]
    if policy.early_decode_tokens and not trips:
        raise Unsound(
            "early_decode.tokens", f"holds a draft back but sets none of {', '.join(TRIPS)}"
        )
    if trips and not policy.early_decode_tokens:
        raise Unsound(f"early_decode.{trips[0]}", "can never trip: early_decode.tokens is 0")
    if 0 < policy.early_decode_tokens < policy.early_decode_window:
        raise Unsound("early_decode.window", "is longer than early_decode.tokens")
    if policy.look_from_benefit > policy.escalate_above_benefit:
        raise Unsound(
            "early_decode.look_from_benefit",
            "is above prefill.escalate_above_benefit: no draft would be looked at",
        )
