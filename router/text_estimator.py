"""P(device good) and P(cloud good) from the prompt's text alone, fitted to graded questions.

One ridge regression for both heads over three blocks: hashed n-grams weighted by rarity, the
prompt's shape, and random Fourier features of that shape (a radial basis kernel, Rahimi & Recht
2007), so that length and form may act in bends. The benefit is the difference of both heads. The
cloud's head is harder to learn than the device's, its grades being nearly all alike, so that only
half of what it says beyond the base rate is believed. The constants below were chosen on repeated
splits of the shared data; docs/router.md has the figures, and what else was tried.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanai.errors import UsageError
from router.text_features import SHAPE, Texts

__all__ = ["TextEstimator"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Chances = tuple[Floats, Floats]

PENALTY = 100.0
BENDS = 512
WIDTH = 0.003
"""γ of the radial basis kernel over the standardized shape."""
GRAM_WEIGHT, SHAPE_WEIGHT, BEND_WEIGHT = 0.3, 1.0, 3.0
BELIEF = 0.5
"""Part of the cloud head's deviation from its base rate that counts."""
OUTLIER = 3.0
FEWEST = 40
"""Graded questions below which nothing is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Design:
    """Turns prompts into rows, by what the training prompts were like."""

    rarity: Floats32
    mean: Floats
    scale: Floats
    waves: Floats
    phases: Floats

    @classmethod
    def of(cls, texts: Texts) -> "_Design":
        held, spread = (texts.grams != 0).sum(axis=0), texts.shape.std(axis=0)
        random = np.random.default_rng(0)
        return cls(
            rarity=(np.log((1 + len(texts)) / (1 + held)) + 1).astype(np.float32),
            mean=texts.shape.mean(axis=0),
            scale=np.where(spread > 0, spread, 1.0),
            waves=random.normal(size=(len(SHAPE), BENDS)) * np.sqrt(2 * WIDTH),
            phases=random.uniform(0, 2 * np.pi, BENDS),
        )

    def rows(self, texts: Texts) -> Floats32:
        """Shape (prompts, columns)."""
        grams = texts.grams * self.rarity
        grams /= np.maximum(np.linalg.norm(grams, axis=1, keepdims=True), 1e-6)
        shape = np.clip((texts.shape - self.mean) / self.scale, -OUTLIER, OUTLIER)
        grams *= np.sqrt(GRAM_WEIGHT)
        flat = shape * np.sqrt(SHAPE_WEIGHT / len(SHAPE))
        bent = np.sqrt(2 * BEND_WEIGHT / BENDS) * np.cos(shape @ self.waves + self.phases)
        return np.hstack([grams, flat, bent]).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    """Ridge weights of both heads, columns (device, cloud)."""

    centre: Floats32
    base: Floats
    weights: Floats

    @classmethod
    def fit(cls, rows: Floats32, grades: Floats) -> "_Heads":
        centre, base = rows.mean(axis=0), grades.mean(axis=0)
        plain = rows - centre
        across = plain.T.astype(np.float64)
        # (XᵀX + λ)⁻¹Xᵀ = Xᵀ(XXᵀ + λ)⁻¹: the same weights, of the smaller system.
        if len(rows) < rows.shape[1]:
            weights = across @ _solved(plain @ plain.T, grades - base)
        else:
            weights = _solved(plain.T @ plain, across @ (grades - base))
        return cls(centre=centre, base=base, weights=weights)

    def chances(self, rows: Floats32) -> Chances:
        """Not clipped: beyond 0 and 1 they still rank."""
        moved = (rows - self.centre).astype(np.float64) @ self.weights
        device = self.base[0] + moved[:, 0]
        return device, self.base[1] + BELIEF * moved[:, 1]


def _solved(products: Floats32, right: Floats) -> Floats:
    """By the products of all pairs, with the penalty on the diagonal."""
    curvature = products.astype(np.float64)
    curvature[np.diag_indices_from(curvature)] += PENALTY
    solved: Floats = np.linalg.solve(curvature, right).astype(np.float64, copy=False)
    return solved


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEstimator:
    """Fitted by ``TextEstimator.fit``; holds no prompt."""

    design: _Design
    heads: _Heads

    @classmethod
    def fit(cls, texts: Texts, weak: Floats, strong: Floats) -> "TextEstimator":
        """Grades are 0 or 1, shapes (prompts,). Raises ``UsageError`` for too few of them."""
        if len(texts) < FEWEST:
            raise UsageError(
                f"{len(texts)} graded questions are too few to fit an estimator",
                hint=f"give at least {FEWEST}",
            )
        design = _Design.of(texts)
        heads = _Heads.fit(design.rows(texts), np.column_stack([weak, strong]))
        return cls(design=design, heads=heads)

    @property
    def usual_benefit(self) -> float:
        """Of the questions it was fitted on."""
        return float(self.heads.base[1] - self.heads.base[0])

    def chances(self, texts: Texts) -> Chances:
        """P(device good) and P(cloud good), shapes (prompts,)."""
        device, cloud = self.heads.chances(self.design.rows(texts))
        return np.clip(device, 0, 1), np.clip(cloud, 0, 1)

    def benefit(self, texts: Texts) -> Floats:
        device, cloud = self.heads.chances(self.design.rows(texts))
        return cloud - device
