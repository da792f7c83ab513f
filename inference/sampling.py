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
PIECE: Final = 512  # of a row: what a sum or a maximum is taken of first
STEEPEST: Final = 3e38  # of one over the temperature, so that a product with 0 stays 0


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
        weights = _weights(logits, logits[best], self._sampling.temperature)
        ids = self._candidates(weights)
        if ids is None:
            return pick(weights, self._random.random())
        return int(ids[pick(weights[ids], self._random.random())])

    def _candidates(self, weights: Row) -> Ids | None:
        """Ids that survive top-k and top-p, ascending; ``None``: all of them."""
        sampling, ids = self._sampling, None
        if 0 < sampling.top_k < weights.size:
            ids = heaviest(weights, sampling.top_k)
            weights = weights[ids]
        if sampling.top_p < 1:
            kept = nucleus(weights, sampling.top_p)
            ids = kept if ids is None else ids[kept]
        return ids


def _weights(logits: Row, top: np.float32, temperature: float) -> Row:
    """Unnormalized probabilities, 1 at the top. In float32: four times as fast, and a token's
    probability is off by some millionths of itself."""
    with np.errstate(over="ignore"):  # a tiny temperature leaves nothing but the top
        steep = (logits - top) * np.float32(min(1 / temperature, STEEPEST))
    weights: Row = np.exp(steep, out=steep)
    return weights


def pick(weights: Row, point: float) -> int:
    """The index at ``point``, within [0, 1), of the weights laid end to end."""
    starts = np.arange(0, weights.size, PIECE)
    before = np.cumsum(np.add.reduceat(weights, starts, dtype=np.float64))
    piece, left = _place(before, point * before[-1])
    inside = np.cumsum(weights[starts[piece] :][:PIECE], dtype=np.float64)
    return int(starts[piece]) + _place(inside, left)[0]


def _place(reached: NDArray[np.float64], point: float) -> tuple[int, float]:
    """Where ``point`` falls, and how far into it. Never where nothing was added: sums of the same
    weights in another order may differ by their last digits."""
    point = min(point, float(np.nextafter(reached[-1], 0)))
    index = int(np.searchsorted(reached, point, side="right"))
    return index, point - (float(reached[index - 1]) if index else 0.0)


def heaviest(weights: Row, count: int) -> Ids:
    """Indices of the ``count`` heaviest, ascending."""
    some = np.arange(weights.size)
    most = np.maximum.reduceat(weights, some[::PIECE])
    if count < most.size:  # so many pieces hold one at least as heavy
        some = np.flatnonzero(weights >= np.partition(most, -count)[-count])
    return np.sort(some[np.argpartition(weights[some], -count)[-count:]])


def nucleus(weights: Row, top_p: float) -> Ids:
    """Indices of the smallest set of the heaviest whose share reaches ``top_p``, ascending.

    A full sort of a large vocabulary costs milliseconds. All that are lighter than the n-th part
    of what may be left out are left out together.
    """
    total = float(weights.sum(dtype=np.float64))
    some = np.flatnonzero(weights >= total * (1 - top_p) / weights.size)
    order = some[np.argsort(-weights[some], kind="stable")]
    reached = np.cumsum(weights[order], dtype=np.float64)
    count = int(np.searchsorted(reached, total * top_p)) + 1
    return np.sort(order[:count])


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
    first = 1 / total
    weights[np.argmax(weights)] = 0
    second = float(weights.max()) / total
    return TokenStatistics(
        entropy=max(0.0, log_total - mean_shift),
        margin=first - second,
        top_probability=first,
        chosen_log_probability=None if chosen is None else float(shifted[chosen]) - log_total,
    )
