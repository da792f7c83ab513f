"""λ, moved so that money lasts: a daily budget as a price that rises and falls.

Dual mirror descent (Balseiro, Lu and Mirrokni 2020, arXiv:2011.10124) with multiplicative steps:
spending m of a day's budget B multiplies λ by e^(rate · m / B), and an hour multiplies it by
e^(−rate / 24). Where spending keeps B a day, λ stands still. Beside it a purse fills by B a day, up
to B: it bounds a burst, which λ alone would learn from too late. In any 24 hours at most 2 B are
spent, in the long run B a day.

The clock is a wall clock, since the purse outlives processes. One that jumps back adds nothing; one
that jumps ahead adds at most a day. Both are counted, and neither is ever an error.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from router.policy_parts import Budget, Costs
from router.strict import Fields, Malformed

__all__ = ["Pace"]

DAY_S = 86_400.0
JUMP_BACK_S = 2.0
"""Less is two processes whose clocks were read in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """λ as a multiple of the policy's weight, and the purse as a share of a day's budget."""

    factor: float = 1.0
    purse: float = 1.0
    at_s: float
    """Since 1970, by the wall clock, when this was true."""
    jumps: int = 0

    def weight(self, costs: Costs, budget: Budget) -> float:
        return min(costs.weight * self.factor, budget.weight_at_most)

    def money_left(self, budget: Budget) -> float:
        return self.purse * budget.money_per_day

    def passed(self, now_s: float, budget: Budget) -> "Pace":
        """Time alone: λ falls, the purse fills."""
        if not math.isfinite(now_s):
            return replace(self, jumps=self.jumps + 1)
        gone = now_s - self.at_s
        jumped = gone < -JUMP_BACK_S or gone > 366 * DAY_S
        days = min(max(gone, 0.0), DAY_S) / DAY_S
        return Pace(
            factor=max(self.factor * math.exp(-budget.rate * days), LEAST),
            purse=min(self.purse + days, 1.0),
            at_s=now_s,
            jumps=self.jumps + jumped,
        )

    def spent(self, money: float, budget: Budget) -> "Pace":
        """λ rises, the purse empties; it may end below nothing, where a rule forced the cloud."""
        share = min(max(money, 0.0) / budget.money_per_day, MOST_DAYS)
        factor = min(self.factor * math.exp(budget.rate * share), MOST)
        return replace(self, factor=factor, purse=max(self.purse - share, -MOST_DAYS))

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "factor": self.factor,
            "purse": self.purse,
            "at_s": self.at_s,
            "jumps": self.jumps,
        }

    @classmethod
    def read(cls, fields: Fields) -> "Pace":
        """Raises ``Malformed``."""
        pace = cls(
            factor=fields.number("factor"),
            purse=fields.number("purse"),
            at_s=fields.number("at_s"),
            jumps=fields.integer("jumps"),
        )
        fields.done()
        if not (LEAST <= pace.factor <= MOST and -MOST_DAYS <= pace.purse <= 1):
            raise Malformed(fields.named("factor"), "is out of range")
        return pace


LEAST, MOST = 1e-6, 1e6
MOST_DAYS = 10.0
