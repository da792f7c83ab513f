"""The app's word for a kind of request as a signal: how often each side is right on such requests.

A prior is a signal like any other: one number, the logit of one side's rate in the category, drawn
towards the rate of all. Most requests name no category, or one that was never measured; the signal
is then missing, and heads are fitted to cope with that (``held_out.fitted_head``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.facts import RequestFacts
from router.strict import Fields, Malformed
from router.vocabulary import Stage

__all__ = ["CategoryPrior"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STRENGTH = 8.0
"""Questions that the rate of all counts for beside a category's own."""
MOST = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryPrior:
    """One side's logit by category."""

    name: str
    logits: Mapping[str, float] = field(repr=False)
    stage: Stage = Stage.PREFILL

    @classmethod
    def fit_all(
        cls, grades: Mapping[str, Flags], categories: Sequence[str]
    ) -> "tuple[CategoryPrior, ...]":
        """One prior a name; none where there are fewer than two categories, or more than ``MOST``.

        An empty word is no category.
        """
        words, names = np.array(categories), sorted(set(categories) - {""})
        if not 2 <= len(names) <= MOST:
            return ()
        return tuple(
            cls(name=name, logits={word: _drawn(good[words == word], good) for word in names})
            for name, good in grades.items()
        )

    def column(self, categories: Sequence[str]) -> Floats:
        """Shape (rows,); NaN for a category it does not know."""
        return np.array([self.logits.get(word, math.nan) for word in categories])

    def measure(self, observation: RequestFacts) -> float | None:
        """``None`` where the app named no category, or one that was not measured."""
        return None if observation.category is None else self.logits.get(observation.category)

    def to_json_dict(self) -> dict[str, Any]:
        return {"name": self.name, "logits": dict(self.logits)}

    @classmethod
    def read(cls, fields: Fields) -> "CategoryPrior":
        """Raises ``Malformed``."""
        name, named = fields.text("name"), fields.fields("logits")
        words = named.names()
        if not words or len(words) > MOST:
            raise Malformed(fields.named("logits"), f"must be some numbers, at most {MOST}")
        prior = cls(name=name, logits={word: named.number(word) for word in words})
        named.done()
        fields.done()
        return prior


def _drawn(own: Flags, everyone: Flags) -> float:
    """Half a question each way keeps a side that is always right, or never, finite."""
    base = (float(everyone.sum()) + 0.5) / (len(everyone) + 1)
    rate = (float(own.sum()) + STRENGTH * base) / (len(own) + STRENGTH)
    return math.log(rate / (1 - rate))
