"""When a buffered draft trips: a rolling signal beyond a limit the policy sets."""

from collections.abc import Mapping
from dataclasses import dataclass

from router.policy import Policy
from router.sentences import number

__all__ = ["Trip", "tripped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """The first limit a draft passed."""

    signal: str
    value: float
    limit: float
    above: bool

    @property
    def counterfactual(self) -> str:
        side = "at most" if self.above else "at least"
        return (
            f"would have stayed on the device with a {self.signal} of {side} "
            f"{number(self.limit, self.value)}; it was {number(self.value, self.limit)}"
        )


def tripped(policy: Policy, values: Mapping[str, float | None]) -> Trip | None:
    """Entropy first, then margin, then repetition. A signal not measured yet trips nothing."""
    limits = (
        ("draft_entropy", policy.entropy_above, True),
        ("draft_margin", policy.margin_below, False),
        ("draft_repetition", policy.repetition_above, True),
    )
    for signal, limit, above in limits:
        value = values.get(signal)
        if value is None or limit is None:
            continue
        if value > limit if above else value < limit:
            return Trip(signal=signal, value=value, limit=limit, above=above)
    return None
