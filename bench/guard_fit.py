"""Fits the weights of ``HarmCheck``: logistic regression with a ridge, by accelerated gradients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_agent.guardrails.harm_features import BUCKETS, hashed, windows
from device_agent.guardrails.harm_model import HarmModel

__all__ = ["Grams", "Windows", "fit"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RIDGE = 0.3
STEPS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """Hashed texts as three columns: which text, which bucket, how much."""

    texts: NDArray[np.int64]
    buckets: NDArray[np.int64]
    counts: Floats
    size: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Grams":
        rows = [hashed(text) for text in texts]
        lengths = [len(buckets) for buckets, _ in rows]
        return cls(
            texts=np.repeat(np.arange(len(rows)), lengths),
            buckets=np.concatenate([buckets for buckets, _ in rows]),
            counts=np.concatenate([counts for _, counts in rows]),
            size=len(rows),
        )

    def of_texts(self, chosen: Flags) -> "Grams":
        """The same numbering; texts that are not chosen are empty."""
        kept = chosen[self.texts]
        return Grams(
            texts=self.texts[kept],
            buckets=self.buckets[kept],
            counts=self.counts[kept],
            size=self.size,
        )

    def weighted(self, rarity: Floats) -> "Grams":
        """By rarity, each text of length one."""
        counts = self.counts * rarity[self.buckets]
        length = np.sqrt(np.bincount(self.texts, counts**2, self.size))
        scaled = counts / np.maximum(length[self.texts], 1e-9)
        return Grams(texts=self.texts, buckets=self.buckets, counts=scaled, size=self.size)

    def times(self, weights: Floats) -> Floats:
        said = np.bincount(self.texts, self.counts * weights[self.buckets], self.size)
        return said.astype(np.float64)

    def back(self, residuals: Floats) -> Floats:
        summed = np.bincount(self.buckets, self.counts * residuals[self.texts], BUCKETS)
        return summed.astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Texts as the check takes them, hashed once for many models."""

    grams: Grams
    of: NDArray[np.int64]
    """Which text each window is of."""
    size: int

    @classmethod
    def cut(cls, texts: Sequence[str]) -> "Windows":
        cuts = [(at, window) for at, text in enumerate(texts) for window in windows(text)]
        return cls(
            grams=Grams.of([window for _, window in cuts]),
            of=np.array([at for at, _ in cuts]),
            size=len(texts),
        )

    def logits(self, model: HarmModel) -> Floats:
        """As ``HarmModel.logit`` of each text."""
        weighted = self.grams.weighted(model.rarity.astype(np.float64))
        said = weighted.times(model.weights.astype(np.float64)) + model.bias
        most = np.full(self.size, -np.inf)
        np.maximum.at(most, self.of, said)
        return most


def fit(grams: Grams, harmful: Flags, importance: Floats, chosen: Flags) -> HarmModel:
    """On the chosen texts. The threshold is 0, until one is set by what it refuses."""
    kept = grams.of_texts(chosen)
    held = np.bincount(kept.buckets, minlength=BUCKETS)
    rarity = np.log((1 + chosen.sum()) / (1 + held)) + 1
    weights, bias = _descend(kept.weighted(rarity), harmful, importance * chosen)
    return HarmModel(
        rarity=rarity.astype(np.float32),
        weights=weights.astype(np.float32),
        bias=bias,
        threshold=0.0,
    )


def _descend(grams: Grams, harmful: Flags, importance: Floats) -> tuple[Floats, float]:
    """Nesterov's method; steps as long as the curvature allows (Nesterov 1983)."""
    weights, moved = np.zeros(BUCKETS), np.zeros(BUCKETS)
    bias, shifted = 0.0, 0.0
    step = 0.5 / (0.25 * _curvature(grams, importance) + RIDGE)
    bias_step = 0.5 / (0.25 * float(importance.sum()))
    for number in range(STEPS):
        momentum = number / (number + 3)
        ahead, bias_ahead = weights + momentum * moved, bias + momentum * shifted
        chance = 1 / (1 + np.exp(-(grams.times(ahead) + bias_ahead)))
        residuals = importance * (chance - harmful)
        new = ahead - step * (grams.back(residuals) + RIDGE * ahead)
        new_bias = bias_ahead - bias_step * float(residuals.sum())
        moved, shifted = new - weights, new_bias - bias
        weights, bias = new, new_bias
    return weights, bias


def _curvature(grams: Grams, importance: Floats) -> float:
    """The largest of the weighted squares, by power iteration."""
    direction, largest = np.random.default_rng(0).normal(size=BUCKETS), 1.0
    for _ in range(15):
        direction = grams.back(importance * grams.times(direction))
        largest = float(np.linalg.norm(direction))
        direction /= largest
    return largest
