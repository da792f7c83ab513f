"""The hidden state of the prefill as one signal: standardize, principal axes, logistic regression.

A probe is a signal like any other: one number, the logit that one side's answer is good. It belongs
to the model whose states it was fitted on; the estimator that holds it is bound to that model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.facts import PrefillObservation
from router.fitting import newton
from router.strict import Fields, Malformed
from router.vocabulary import Stage

__all__ = ["HiddenProbe"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

AXES = 16
LABELS_PER_AXIS = 10
RIDGE = 4.0
LIMIT = 30.0
"""A logit beyond this says no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HiddenProbe:
    """One linear map of a hidden state, ``axes`` folded into it. Equality is identity."""

    name: str
    weights: Floats  # shape (width,)
    bias: float
    stage: Stage = Stage.PREFILL

    @classmethod
    def fit(cls, name: str, states: Floats, good: Flags) -> "HiddenProbe":
        """States of shape (rows, width); at most one axis for every ten labels."""
        return cls.fit_all({name: good}, states)[0]

    @classmethod
    def fit_all(cls, grades: Mapping[str, Flags], states: Floats) -> "tuple[HiddenProbe, ...]":
        """One probe a name, over the same axes."""
        mean, scale = states.mean(axis=0), states.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        plain = (states - mean) / scale
        kept = max(1, min(AXES, len(states) // LABELS_PER_AXIS))
        axes = np.linalg.svd(plain, full_matrices=False)[2][:kept]
        places = plain @ axes.T
        spread = places.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        design = np.column_stack([np.ones(len(states)), places / spread])
        probes = []
        for name, good in grades.items():
            fitted = newton(design, good.astype(np.float64), ridge=RIDGE)
            weights = ((fitted[1:] / spread) @ axes) / scale
            bias = float(fitted[0] - weights @ mean)
            probes.append(cls(name=name, weights=weights, bias=bias))
        return tuple(probes)

    def logits(self, states: Floats) -> Floats:
        """Shape (rows,)."""
        return np.clip(states @ self.weights + self.bias, -LIMIT, LIMIT)

    def measure(self, observation: PrefillObservation) -> float | None:
        """``None`` without a hidden state, or with one that is not of this model's width."""
        state = observation.hidden_state
        if state is None or state.shape != self.weights.shape or not np.isfinite(state).all():
            return None
        return float(self.logits(state.astype(np.float64)))

    def to_json_dict(self) -> dict[str, Any]:
        return {"name": self.name, "bias": self.bias, "weights": self.weights.tolist()}

    @classmethod
    def read(cls, fields: Fields) -> "HiddenProbe":
        """Raises ``Malformed``."""
        name, bias = fields.text("name"), fields.number("bias")
        values = fields.items("weights")
        if not values or len(values) > 1 << 16:
            raise Malformed(fields.named("weights"), "must be some numbers, at most 65,536")
        weights = [Fields({"weights": value}).number("weights") for value in values]
        fields.done()
        return cls(name=name, weights=np.array(weights), bias=bias)
