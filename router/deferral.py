"""The deferral curve: how good answers get as more questions go to the cloud, best-looking first.

Questions are sent in falling order of a score. At share c the nearest whole number of questions has
gone, so the curve is a staircase; among equal scores the order is random, and every figure here is
the exact expectation over it. Figures by RouteLLM (arXiv:2406.18665) and RouterBench
(arXiv:2403.12031), without their grids.

Weights are how often a resample drew each question: shape (resamples, questions). All figures come
as one value a resample, NaN where the cloud is no better than the device, so that nothing is there
to be recovered.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.isotonic import pooled

__all__ = ["DeferralCurve"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferralCurve:
    """Blocks of equal score, the first to be sent first; shapes (resamples, blocks)."""

    sent: Floats
    """Questions in each block."""
    gained: Floats
    """Right answers won (cloud right, device wrong) less those lost."""
    lost: Floats
    """Sent without need: the cloud is no better on them."""
    at_home: Floats
    """Right answers if nothing is sent, shape (resamples,)."""

    @classmethod
    def of(
        cls, scores: Floats, device: Floats, cloud: Floats, weights: Floats | None = None
    ) -> "DeferralCurve":
        """``device`` and ``cloud`` are 1 where that side's answer is good, shapes (questions,)."""
        if weights is None:
            weights = np.ones((1, len(scores)))
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        starts = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]])
        gain = (cloud - device)[order]
        drawn = weights[:, order].astype(np.float64)
        return cls(
            sent=np.add.reduceat(drawn, starts, axis=1),
            gained=np.add.reduceat(drawn * gain, starts, axis=1),
            lost=np.add.reduceat(drawn * (gain <= 0), starts, axis=1),
            at_home=drawn @ device[order],
        )

    @property
    def questions(self) -> Floats:
        return np.asarray(self.sent.sum(axis=1))

    @property
    def gap(self) -> Floats:
        """Right answers that the cloud alone has more than the device alone; NaN unless above 0."""
        total = self.gained.sum(axis=1)
        return np.where(total > 0, total, np.nan)

    def apgr(self) -> Floats:
        """Average share of the gap recovered, over all shares sent. A random order has 0.5.

        A question at place i of n (counted from 0) is answered by the cloud at shares above
        (i + ½) / n; in a block of equal scores each has the mean place.
        """
        before = np.cumsum(self.sent, axis=1) - self.sent / 2
        ahead = 1 - before / self.questions[:, None]
        return np.asarray((self.gained * ahead).sum(axis=1) / self.gap)

    def cpt(self, recovered: float) -> Floats:
        """Least share sent that recovers ``recovered`` of the gap, as whole questions."""
        wanted = recovered * self.gap[:, None]
        ends = np.cumsum(self.gained, axis=1)
        # Past rounding: the last block always reaches the whole gap.
        reached = ends >= wanted - 1e-9
        first = reached.argmax(axis=1)[:, None]
        gained, sent = (np.take_along_axis(a, first, 1) for a in (self.gained, self.sent))
        missing = wanted - (np.take_along_axis(ends, first, 1) - gained)
        inside = np.divide(missing, gained, out=np.zeros_like(missing), where=gained > 0) * sent
        before = np.take_along_axis(np.cumsum(self.sent, axis=1), first, 1) - sent
        whole = np.ceil(before + np.clip(inside, 0, sent) - 1e-9)
        share: Floats = whole[:, 0] / self.questions
        return np.where(np.isnan(self.gap), np.nan, share)

    def aiq(self) -> Floats:
        """Mean accuracy under the non-decreasing concave hull of the curve (RouterBench's AIQ).

        The hull's slopes are the isotonic fit of the blocks' gains, never below 0.
        """
        return np.array([self._hull_area(row) for row in range(len(self.sent))])

    def accuracy(self, shares: Floats) -> Floats:
        """Accuracy at each share, shape (resamples, shares)."""
        return self._at(shares, self.gained, self.at_home)

    def wasted(self, shares: Floats) -> Floats:
        """Of what is sent at each share, the part on which the cloud is no better."""
        sent = np.maximum(np.rint(shares * self.questions[:, None]), 1)
        none = np.zeros_like(self.at_home)
        lost = self._at(shares, self.lost, none) * self.questions[:, None]
        return np.asarray(np.where(np.rint(shares * self.questions[:, None]) > 0, lost / sent, 0.0))

    def _hull_area(self, row: int) -> float:
        here = self.sent[row] > 0
        sent, gained = self.sent[row][here], self.gained[row][here]
        slopes = np.maximum(-pooled(-gained / sent, sent), 0.0)
        before = np.cumsum(sent) - sent / 2
        total = sent.sum()
        area = (slopes * sent * (1 - before / total)).sum()
        return float((self.at_home[row] + area) / total)

    def _at(self, shares: Floats, counted: Floats, start: Floats) -> Floats:
        """``start`` plus what the sent questions count, per question, at each share."""
        rows = []
        for sent, each, first in zip(self.sent, counted, start, strict=True):
            ends = np.r_[0.0, np.cumsum(sent)]
            values = np.r_[0.0, np.cumsum(each)]
            whole = np.rint(shares * ends[-1])
            rows.append((first + np.interp(whole, ends, values)) / ends[-1])
        return np.array(rows)
