"""Isotonic regression by pooling adjacent violators, and the calibration map made of it.

A map is bound to what it was fitted on: the model, its quantization and the signal. Another model's
number on the same scale means something else, and asking for it is refused.
"""

import bisect
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanai.errors import ConfigError, UsageError
from router.strict import Fields, Malformed

__all__ = ["CalibrationKey", "IsotonicMap", "pooled"]

Floats = NDArray[np.float64]


def pooled(values: Floats, weights: Floats | None = None) -> Floats:
    """The non-decreasing sequence nearest to ``values`` in weighted squares, shape (n,)."""
    ones = np.ones(len(values)) if weights is None else weights
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), ones.tolist(), strict=True):
        mean, mass, count = value, weight, 1
        while means and means[-1] >= mean:
            before, its = means.pop(), masses.pop()
            mean = (before * its + mean * mass) / (its + mass)
            mass += its
            count += counts.pop()
        means.append(mean)
        masses.append(mass)
        counts.append(count)
    return np.repeat(means, counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationKey:
    """What one map belongs to."""

    model_sha256: str
    quantization: str
    """As the catalog names it, such as ``Q4_1`` or ``palette-3.5``."""
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IsotonicMap:
    """P(good) by a signal's value: piecewise linear between knots, flat beyond them."""

    key: CalibrationKey
    rising: bool
    """Does P(good) grow with the signal?"""
    knots: tuple[float, ...]
    chances: tuple[float, ...]
    labels: int

    @classmethod
    def fit(cls, key: CalibrationKey, values: Floats, good: NDArray[np.bool_]) -> "IsotonicMap":
        """Fit the better of both directions; NaN values are left out.

        Raises ``UsageError`` without any measured value.
        """
        measured = np.isfinite(values)
        if not measured.any():
            raise UsageError(f"the signal {key.signal} was never measured")
        raw, labels = values[measured], good[measured].astype(np.float64)
        rising = bool(np.corrcoef(raw, labels)[0, 1] >= 0) if _varies(raw, labels) else True
        levels, inverse, counts = np.unique(raw, return_inverse=True, return_counts=True)
        means = np.bincount(inverse, weights=labels) / counts
        sign = 1.0 if rising else -1.0
        fitted = sign * pooled(sign * means, counts.astype(np.float64))
        kept = _corners(fitted)
        return cls(
            key=key,
            rising=rising,
            knots=tuple(levels[kept].tolist()),
            chances=tuple(_shrunk(fitted, counts)[kept].tolist()),
            labels=len(raw),
        )

    def chance(self, key: CalibrationKey, raw: float | None) -> float | None:
        """P(good). ``None`` where the signal is missing. Raises ``ConfigError`` for another key."""
        if key != self.key:
            raise ConfigError(
                f"calibration of {self.key.signal} was fitted for another model",
                hint="run `lanai route train` for this pair of models",
            )
        if raw is None:
            return None
        place = bisect.bisect_right(self.knots, raw)
        if place in (0, len(self.knots)):
            return self.chances[0 if place == 0 else -1]
        low, high = self.knots[place - 1 : place + 1]
        part = (raw - low) / (high - low)
        return self.chances[place - 1] * (1 - part) + self.chances[place] * part

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "model_sha256": self.key.model_sha256,
            "quantization": self.key.quantization,
            "signal": self.key.signal,
            "rising": self.rising,
            "knots": list(self.knots),
            "chances": list(self.chances),
            "labels": self.labels,
        }

    @classmethod
    def read(cls, fields: Fields) -> "IsotonicMap":
        """Raises ``Malformed``."""
        key = CalibrationKey(
            model_sha256=fields.text("model_sha256"),
            quantization=fields.text("quantization"),
            signal=fields.text("signal"),
        )
        knots, chances = (_numbers(fields, name) for name in ("knots", "chances"))
        if not knots or len(knots) != len(chances):
            raise Malformed(fields.named("chances"), "must be as many as knots, and some")
        if any(low >= high for low, high in pairwise(knots)):
            raise Malformed(fields.named("knots"), "must rise")
        result = cls(
            key=key,
            rising=fields.flag("rising"),
            knots=knots,
            chances=chances,
            labels=fields.integer("labels"),
        )
        fields.done()
        return result


def _varies(raw: Floats, labels: Floats) -> bool:
    return bool(np.ptp(raw) > 0 and np.ptp(labels) > 0)


def _corners(fitted: Floats) -> NDArray[np.intp]:
    """Both ends of each flat piece: the map between them is the same without the rest."""
    change = fitted[1:] != fitted[:-1]
    return np.flatnonzero(np.r_[True, change] | np.r_[change, True])


def _shrunk(fitted: Floats, counts: NDArray[np.intp]) -> Floats:
    """Each flat piece with one pseudo-label of either kind: no piece claims certainty."""
    piece = np.cumsum(np.r_[0, fitted[1:] != fitted[:-1]])
    mass = np.bincount(piece, weights=counts)[piece]
    return np.asarray((fitted * mass + 1) / (mass + 2))


def _numbers(fields: Fields, name: str) -> tuple[float, ...]:
    values = fields.items(name)
    return tuple(Fields({name: value}).number(name) for value in values)
