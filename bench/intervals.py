"""95 % intervals of what is measured."""

import math
import statistics
from collections.abc import Sequence
from typing import Final

import numpy as np

__all__ = ["grouped_median_interval", "median_interval", "wilson"]

DRAWS: Final = 2000
_Z: Final = statistics.NormalDist().inv_cdf(0.975)


def wilson(hits: int, count: int) -> tuple[float, float, float]:
    """A share and its interval (Wilson 1927); ``count`` ≥ 1. Groups make it too narrow."""
    share, scale = hits / count, 1 + _Z * _Z / count
    middle = (share + _Z * _Z / (2 * count)) / scale
    half = _Z * math.sqrt(share * (1 - share) / count + _Z * _Z / (4 * count**2)) / scale
    return share, max(middle - half, 0.0), min(middle + half, 1.0)


def median_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """Of the median, by bootstrap."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (DRAWS, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


def grouped_median_interval(
    groups: Sequence[Sequence[float]], *, seed: int = 0
) -> tuple[float, float]:
    """Of the median of all values, when those of one group have their luck in common.

    By bootstrap of groups, then of the values in each (Davison & Hinkley 1997, section 3.8). Few
    groups make it too narrow.
    """
    random = np.random.default_rng(seed)
    held = [np.asarray(group) for group in groups if group]
    medians = [
        np.median(np.concatenate([random.choice(held[at], len(held[at])) for at in drawn]))
        for drawn in random.integers(len(held), size=(DRAWS, len(held)))
    ]
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(low), float(high)
