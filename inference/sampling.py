"""Drawing the next token, and what can be said about the distribution it is drawn from.

numpy only; the logits are one row of shape (vocabulary,), float32. The order of the filters is the
usual one: constraint mask, temperature, top-k, top-p (Holtzman et al. 2020, nucleus sampling).
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.engine import Sampling, TokenStatistics
from lanai.errors import EngineError

__all__ = ["Sampler", "allowed_tokens", "statistics"]

Row = NDArray[np.float32]
Ids = NDArray[np.intp]
Weights = NDArray[np.float64]
FIRST_CANDIDATES: Final = 256


class Sampler:
    """Draws tokens for one request: the same seed and the same logits give the same tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def draw(self, logits: Row, mask: NDArray[np.uint32] | None = None) -> int:
        """The next token id. Raises ``EngineError`` when the logits hold no finite maximum."""
        if mask is not None:
            logits = np.where(allowed_tokens(mask, logits.size), logits, np.float32(-np.inf))
        best = int(np.argmax(logits))
        if not math.isfinite(logits[best]):
            raise EngineError("the model gave no usable distribution")
        if self._sampling.temperature == 0:
            return best
        ids, weights = self._candidates(logits, logits[best])
        return self._pick(ids, weights)

    def _candidates(self, logits: Row, top: np.float32) -> tuple[Ids, Weights]:
        """Ids that survive top-k and top-p, with their unnormalized probabilities."""
        sampling = self._sampling
        # Float64: a tiny temperature must not overflow; the largest exponent is 0 by construction.
        weights = np.exp((logits.astype(np.float64) - top) / sampling.temperature)
        ids = np.arange(weights.size)
        if 0 < sampling.top_k < weights.size:
            ids = np.argpartition(weights, -sampling.top_k)[-sampling.top_k :]
            ids = np.sort(ids)  # so that the draw does not depend on the partition's order
        if sampling.top_p < 1:
            ids = ids[nucleus(weights[ids], sampling.top_p)]
        return ids, weights[ids]

    def _pick(self, ids: Ids, weights: Weights) -> int:
        cumulative = np.cumsum(weights)
        point = self._random.random() * cumulative[-1]
        index = int(np.searchsorted(cumulative, point, side="right"))
        return int(ids[min(index, ids.size - 1)])


def nucleus(weights: Weights, top_p: float) -> Ids:
    """Indices of the smallest set of the heaviest whose share reaches ``top_p``, ascending.

    A full sort of a large vocabulary costs milliseconds; the nucleus is nearly always small, so a
    growing head of it is sorted instead.
    """
    wanted = top_p * float(weights.sum())
    head = min(FIRST_CANDIDATES, weights.size)
    while True:
        heaviest = np.argpartition(weights, -head)[-head:]
        order = heaviest[np.argsort(-weights[heaviest], kind="stable")]
        reached = np.cumsum(weights[order])
        if reached[-1] >= wanted or head == weights.size:
            count = min(int(np.searchsorted(reached, wanted)) + 1, head)
            return np.sort(order[:count])
        head = min(head * 8, weights.size)


def allowed_tokens(mask: NDArray[np.uint32], vocabulary: int) -> NDArray[np.bool_]:
    """The bitmask of ``Constraint.allowed`` as booleans, shape (vocabulary,)."""
    bits = np.unpackbits(mask.astype("<u4", copy=False).view(np.uint8), bitorder="little")
    return bits[:vocabulary].view(np.bool_)


def statistics(logits: Row, chosen: int | None = None) -> TokenStatistics:
    """Entropy, margin and top probability of softmax(logits), natural logarithms."""
    # Bounded below, where exp is 0 anyway, so that no 0 * inf appears.
    shifted = np.maximum(logits - logits.max(), np.float32(-1e4))
    weights = np.exp(shifted)
    total = float(weights.sum(dtype=np.float64))
    log_total = math.log(total)
    # -sum p log p, with p = w / total and log p = shifted - log total.
    mean_shift = float((weights * shifted).sum(dtype=np.float64)) / total
    second, first = np.partition(weights, -2)[-2:] / total if weights.size > 1 else (0.0, 1.0)
    return TokenStatistics(
        entropy=max(0.0, log_total - mean_shift),
        margin=float(first - second),
        top_probability=float(first),
        chosen_log_probability=None if chosen is None else float(shifted[chosen]) - log_total,
    )
