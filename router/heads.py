"""A calibrated logistic head: named signals in, one probability out. Plain numbers, no numpy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.strict import Fields, Malformed

__all__ = ["Head", "Term"]

MOST_WEIGHT = 1e6
"""In logits a standard deviation; its square must stay a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One signal's part: ``weight · (value − mean) / scale``."""

    signal: str
    mean: float
    scale: float
    weight: float

    def score(self, value: float | None) -> float:
        """A signal that is missing moves nothing."""
        return 0.0 if value is None else self.weight * (value - self.mean) / self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """P(good) = σ(slope · (bias + Σ terms) + intercept).

    ``slope`` and ``intercept`` are Platt's calibration, fitted on scores of held-out groups.
    """

    bias: float
    terms: tuple[Term, ...]
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def signals(self) -> tuple[str, ...]:
        """What it reads."""
        return tuple(term.signal for term in self.terms)

    def score(self, values: Mapping[str, float | None]) -> float:
        """The uncalibrated logit."""
        return self.bias + sum(term.score(values.get(term.signal)) for term in self.terms)

    def probability(self, values: Mapping[str, float | None]) -> float:
        """A missing signal is marginalized: averaged over as a normal with its mean and scale.

        σ of a normal logit is close to σ(mean / √(1 + π·variance/8)) (MacKay 1992), so that a
        head which lacks its strongest signal is less sure, not only average.
        """
        missing = sum(term.weight**2 for term in self.terms if values.get(term.signal) is None)
        mean = self.slope * self.score(values) + self.intercept
        return sigmoid(mean / math.sqrt(1 + math.pi * self.slope**2 * missing / 8))

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "bias": self.bias,
            "slope": self.slope,
            "intercept": self.intercept,
            "terms": [
                {"signal": t.signal, "mean": t.mean, "scale": t.scale, "weight": t.weight}
                for t in self.terms
            ],
        }

    @classmethod
    def read(cls, fields: Fields) -> "Head":
        """Raises ``Malformed``."""
        head = cls(
            bias=fields.number("bias"),
            slope=fields.number("slope"),
            intercept=fields.number("intercept"),
            terms=tuple(_read_term(each) for each in fields.each("terms")),
        )
        fields.done()
        return head


def _read_term(fields: Fields) -> Term:
    term = Term(
        signal=fields.text("signal"),
        mean=fields.number("mean"),
        scale=fields.number("scale"),
        weight=fields.number("weight"),
    )
    fields.done()
    if term.scale <= 0:
        raise Malformed(fields.named("scale"), "must be above 0")
    if abs(term.weight) > MOST_WEIGHT:
        raise Malformed(fields.named("weight"), f"must be at most {MOST_WEIGHT:g}")
    return term


def sigmoid(logit: float) -> float:
    """σ, without overflow at either end."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)
