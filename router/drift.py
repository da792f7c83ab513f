"""Notices when requests stop being like those a bound was calibrated on.

    * ``DriftMonitor`` compares recent values of a signal with the calibration's, by Kolmogorov and
      Smirnov's distance, without grades.
    * ``RegretWatch`` counts graded regrets, and says when α itself has become implausible.

A bound is void while either says so. Monitors hold the latest values only; no clock, no content.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lanai.errors import UsageError

__all__ = ["FEWEST", "WINDOW", "Drift", "DriftMonitor", "RegretWatch"]

FEWEST = 30
WINDOW = 200
FALSE_ALARM = 0.001
"""Probability of an alarm per window while nothing has changed."""
STEPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Rates that are held against α, as parts of the way from α to 1."""


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
        window: int = WINDOW,
        false_alarm: float = FALSE_ALARM,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RegretWatch:
    """One claim, that regret per request is at most ``alpha``, against graded requests.

    A test by betting (Waudby-Smith and Ramdas 2020, arXiv:2010.09686): the likelihood of a larger
    rate over that of α, averaged over some rates, is a martingale at most while the claim is true,
    so that by Ville's inequality it ever passes 1 / ``FALSE_ALARM`` with that probability at most,
    however often one looks. It is begun anew with every window, so that what was long ago does not
    hide what is now. A claim once refuted stays so: a new calibration makes a new one.
    """

    alpha: float
    graded: int = 0
    """Of this window."""
    regrets: int = 0
    windows: int = 0
    """That were full, and refuted nothing."""
    refuted: bool = False

    def observed(self, regret: bool) -> "RegretWatch":
        """After one more graded request."""
        more = replace(self, graded=self.graded + 1, regrets=self.regrets + regret)
        if self.refuted or more._wealth > math.log(1 / FALSE_ALARM):
            return replace(more, refuted=True)
        if more.graded < WINDOW:
            return more
        return RegretWatch(alpha=self.alpha, windows=self.windows + 1)

    @property
    def _wealth(self) -> float:
        """ln of the mean likelihood ratio."""
        kept_well, alpha = self.graded - self.regrets, self.alpha
        rates = [alpha + (1 - alpha) * part for part in STEPS]
        logs = [
            self.regrets * math.log(rate / alpha) + kept_well * math.log((1 - rate) / (1 - alpha))
            for rate in rates
        ]
        most = max(logs)
        return most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))
