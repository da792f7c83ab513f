"""The optional sections of a policy. A section that is left out weighs and holds nothing.

Checks raise ``Unsound`` with the key's name in the TOML, so that the reader can name its line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from lanai.errors import ConfigError
from router.strict import Fields, Malformed
from router.vocabulary import DataClass, Finding

__all__ = [
    "AfterAnswer",
    "Budget",
    "Costs",
    "Guarantee",
    "Hedge",
    "Raised",
    "Sessions",
    "Unsound",
    "within",
]


class Unsound(ConfigError):
    """A policy value out of range, or a contradiction. ``key`` is its name in the TOML."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"policy: {key} {problem}")
        self.key = key
        self.problem = problem


def within(key: str, value: float, low: float, high: float) -> None:
    """Raises ``Unsound``."""
    if not low <= value <= high:
        raise Unsound(key, f"must be between {low:g} and {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """``[costs]``: what an escalation costs, in right answers a unit; ``weight`` is λ."""

    weight: float = 1.0
    money_per_request: float = 0.0
    """Any currency; a right answer's worth of it is 1 / λ."""
    money_per_1000_tokens: float = 0.0
    latency_target_s: float = 0.0
    per_second_late: float = 0.0
    reread_s_per_1000_tokens: float = 0.0
    """What the cloud needs to read a history that it did not write."""
    device_reread_s_per_1000_tokens: float = 0.0
    """What the device needs where a conversation comes back (``escalate_only = false``)."""
    per_joule: float = 0.0
    """At an empty battery or full heat; nothing on mains power while cool."""
    device_joules_per_token: float = 0.0
    joules_per_escalation: float = 0.0
    last_token: float = 0.0
    """Cost of spending the last anonymous token; with n left, one n-th of it."""

    def money_of(self, input_tokens: int, output_tokens: int) -> float:
        tokens = input_tokens + output_tokens
        return self.money_per_request + self.money_per_1000_tokens * tokens / 1000

    @property
    def any_money(self) -> bool:
        return self.money_per_request > 0 or self.money_per_1000_tokens > 0

    @classmethod
    def read(cls, given: Fields) -> "Costs":
        names = [each.name for each in fields(cls)]
        return cls(**{name: given.number(name) for name in names if given.has(name)})

    def check(self) -> None:
        for each in fields(self):
            within(f"costs.{each.name}", getattr(self, each.name), 0, 1e6)
        counted = (self.any_money, self.per_second_late, self.per_joule, self.last_token)
        if self.weight == 0 and any(counted):
            raise Unsound("costs.weight", "is 0: what is set beside it would never count")
        if self.latency_target_s and not self.per_second_late:
            raise Unsound("costs.latency_target_s", "is never used: per_second_late is 0")
        for name in ("reread_s_per_1000_tokens", "device_reread_s_per_1000_tokens"):
            if getattr(self, name) and not self.per_second_late:
                raise Unsound(f"costs.{name}", "is never used: per_second_late is 0")
        if self.per_joule and not (self.device_joules_per_token or self.joules_per_escalation):
            raise Unsound("costs.per_joule", "is never used: no joules are named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``[budget]``: λ rises while money goes faster than a day's share, and falls again."""

    money_per_day: float
    rate: float = 2.0
    """λ grows e^rate-fold by spending a day's money at once, and falls so by a day of none."""
    weight_at_most: float = 1e6

    @classmethod
    def read(cls, given: Fields) -> "Budget":
        names = [each.name for each in fields(cls)]
        return cls(**{n: given.number(n) for n in names if given.has(n) or n == "money_per_day"})

    def check(self, costs: Costs) -> None:
        within("budget.money_per_day", self.money_per_day, 1e-9, 1e9)
        within("budget.rate", self.rate, 0.01, 10)
        within("budget.weight_at_most", self.weight_at_most, 1e-6, 1e9)
        if not costs.any_money:
            raise Unsound("budget.money_per_day", "limits nothing: [costs] names no money")
        if costs.weight == 0:
            raise Unsound("budget.money_per_day", "cannot move costs.weight, which is 0")
        if costs.weight > self.weight_at_most:
            raise Unsound("budget.weight_at_most", "is below costs.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """``[session]``: a conversation that went to the cloud stays there, as long as it may."""

    escalate_only: bool = True

    @classmethod
    def read(cls, given: Fields) -> "Sessions":
        return cls(escalate_only=given.flag("escalate_only"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """``[hedge]``: open the sealed call while a later stage still looks, where it is close."""

    within: float = 0.0
    """Distance of the benefit from the price; 0 is off."""

    @classmethod
    def read(cls, given: Fields) -> "Hedge":
        return cls(within=given.number("within"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterAnswer:
    """``[after_answer]``: stage 3, for answers that nobody has seen a character of."""

    look: bool = False
    escalate_invalid: bool = True
    """An answer that fails the request's own validators goes to the cloud."""

    @classmethod
    def read(cls, given: Fields) -> "AfterAnswer":
        return cls(
            look=given.flag("look"),
            escalate_invalid=(
                given.flag("escalate_invalid") if given.has("escalate_invalid") else True
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """``[guarantee]``: keep on the device only where regret is bounded by α, with 1 − δ."""

    alpha: float
    delta: float = 0.1

    @classmethod
    def read(cls, given: Fields) -> "Guarantee":
        delta = given.number("delta") if given.has("delta") else 0.1
        return cls(alpha=given.number("alpha"), delta=delta)

    def check(self) -> None:
        within("guarantee.alpha", self.alpha, 1e-6, 1 - 1e-6)
        within("guarantee.delta", self.delta, 1e-6, 1 - 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """``[data_class]``: what a finding in the text raises the request to. It never lowers."""

    by: Mapping[Finding, DataClass] = field(default_factory=dict)

    def raised(self, said: DataClass, found: tuple[Finding, ...]) -> DataClass:
        """The most private of what was said and what was found."""
        classes = (said, *(self.by[each] for each in found if each in self.by))
        return max(classes, key=list(DataClass).index)

    @classmethod
    def read(cls, given: Fields) -> "Raised":
        names = given.names()
        if unknown := set(names) - set(Finding):
            raise Malformed(given.named(min(unknown)), f"is none of {', '.join(Finding)}")
        return cls(by={Finding(name): given.word(name, DataClass) for name in names})

    def check(self) -> None:
        for finding, data_class in self.by.items():
            if data_class is DataClass.PUBLIC:
                raise Unsound(f"data_class.{finding}", "raises nothing: public is the lowest")
