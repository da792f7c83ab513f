"""Notices when requests stop being like those a bound was calibrated on.

    * ``DriftMonitor`` compares recent values of a signal with the calibration's, by Kolmogorov and
      Smirnov's distance, without grades.
    * ``RegretMonitor`` counts graded regrets, and says when α itself has become implausible.

A bound is void while either says so. Monitors hold the latest values only; no clock, no content.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanai.errors import UsageError
from router.guarantee import upper_bound

__all__ = ["Drift", "DriftMonitor", "RegretMonitor"]

FEWEST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A comparison: ``distance`` between the distributions, and what chance alone may reach."""

    distance: float
    limit: float

    @property
    def drifted(self) -> bool:
        return self.distance > self.limit


class DriftMonitor:
    """One signal; tested each time a window of ``window`` values is full, then begun anew.

    ``false_alarm`` is the probability of an alarm per window while nothing has changed. Windows do
    not overlap: tests of overlapping ones would alarm far more often than promised.
    """

    def __init__(
        self,
        reference: NDArray[np.float64],
        *,
        window: int = 200,
        false_alarm: float = 0.001,
        recent: Sequence[float] = (),
    ) -> None:
        """``recent``: the window as an earlier monitor of the same reference left it."""
        if len(reference) < FEWEST or window < FEWEST:
            raise UsageError(f"a drift monitor needs at least {FEWEST} values on both sides")
        self._reference = np.sort(reference)
        self._window = window
        self._recent: list[float] = list(recent)[: window - 1]
        # The two-sample limit, large-sample form: √(−ln(p/2)/2 · (n + m)/(n·m)).
        spread = 1 / window + 1 / len(reference)
        self._limit = math.sqrt(-math.log(false_alarm / 2) / 2 * spread)

    @property
    def recent(self) -> tuple[float, ...]:
        """The window so far."""
        return tuple(self._recent)

    @property
    def window(self) -> int:
        return self._window

    def observe(self, value: float) -> Drift | None:
        """``None`` until a window is full. A value that is no number counts as the largest."""
        self._recent.append(value if math.isfinite(value) else math.inf)
        if len(self._recent) < self._window:
            return None
        recent = np.sort(self._recent)
        self._recent = []
        return Drift(distance=self._distance(recent), limit=self._limit)

    def _distance(self, recent: NDArray[np.float64]) -> float:
        places = np.concatenate([self._reference, recent])
        shares = [
            np.searchsorted(values, places, side="right") / len(values)
            for values in (self._reference, recent)
        ]
        return float(np.abs(shares[0] - shares[1]).max())


class RegretMonitor:
    """The latest ``window`` graded requests: is a regret of at most α still plausible?"""

    def __init__(self, *, alpha: float, delta: float, window: int = 500) -> None:
        self._alpha, self._delta = alpha, delta
        self._recent: deque[bool] = deque(maxlen=window)

    def observe(self, regret: bool) -> bool:
        """Is α refuted at confidence 1 − δ? (The lower Clopper–Pearson bound is above it.)"""
        self._recent.append(regret)
        count = len(self._recent)
        kept_well = count - sum(self._recent)
        return 1 - upper_bound(kept_well, count, self._delta) > self._alpha
