"""What keeping keys and values in 8 bits changes, against the same weights with a float32 cache.

The rounded cache is the kernels': for each head of each token the largest value over 127 is the
scale, and values are rounded to the nearest of -127…127. Everything else stays float32, so that
the difference is the cache's alone; the kernels' own logits, whose activations are int8 as well,
stand beside it. As for perplexity, the second half of each window is judged.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.cache import Cache
from inference.decoder import Decoder, LanguageModel
from inference.profiling.records import CacheError

__all__ = ["RoundedCache", "cache_errors"]

Tick = Callable[[int, int], None]


class RoundedCache(Cache):
    """A cache whose rows went through 8 bits."""

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        super().store(layer, _rounded(keys), _rounded(values))


def _rounded(rows: Tensor) -> Tensor:
    """(kv_heads, n, head width)."""
    scale = rows.abs().amax(-1, keepdim=True) / 127
    return (rows / scale.clamp_min(1e-30)).round() * scale


@dataclass(slots=True)
class _Sums:
    tokens: int = 0
    change: float = 0.0
    size: float = 0.0
    divergence: float = 0.0
    same: int = 0
    loss: float = 0.0
    loss_float: float = 0.0

    def add(self, logits: Tensor, exact: Tensor, ids: Tensor) -> None:
        """(n, vocabulary) twice, and the n ids that followed."""
        self.tokens += len(ids)
        change = logits - exact
        self.change += float((change - change.mean(1, keepdim=True)).square().sum())
        self.size += float((exact - exact.mean(1, keepdim=True)).square().sum())
        ours, theirs = logits.log_softmax(1), exact.log_softmax(1)
        self.divergence += float((theirs.exp() * (theirs - ours)).sum())
        self.same += int((ours.argmax(1) == theirs.argmax(1)).sum())
        self.loss -= float(ours.gather(1, ids[:, None]).sum())
        self.loss_float -= float(theirs.gather(1, ids[:, None]).sum())

    def error(self) -> CacheError:
        return CacheError(
            tokens=self.tokens,
            logit_error=math.sqrt(self.change / self.size),
            divergence=self.divergence / self.tokens,
            agreement=self.same / self.tokens,
            perplexity=math.exp(self.loss / self.tokens),
            perplexity_float=math.exp(self.loss_float / self.tokens),
        )


def cache_errors(
    decoder: Decoder, kernels: LanguageModel | None, pieces: Sequence[Tensor], tick: Tick
) -> dict[str, CacheError]:
    """``decoder``: in float32. ``kernels``: the same weights there. ``pieces``: windows of ids."""
    sums = {"int8": _Sums()} | ({} if kernels is None else {"kernels": _Sums()})
    shapes = [(shape.kv_heads, shape.head_width) for shape in decoder.config.shapes]
    for number, ids in enumerate(pieces):
        exact = _logits(decoder, ids, decoder.new_cache(len(ids)))
        room = RoundedCache(shapes, len(ids), torch.float32, torch.device("cpu"))
        sums["int8"].add(_logits(decoder, ids, room), exact, _judged(ids))
        if kernels is not None:
            theirs = _logits(kernels, ids, kernels.new_cache(len(ids)))
            sums["kernels"].add(theirs, exact, _judged(ids))
        tick(number + 1, len(pieces))
    return {name: found.error() for name, found in sums.items()}


def _judged(ids: Tensor) -> Tensor:
    return ids[len(ids) // 2 :]


def _logits(model: LanguageModel, ids: Tensor, cache: object) -> Tensor:
    """Of the tokens of the second half, each from what is before it."""
    half = len(ids) // 2
    model.forward(ids[: half - 1], cache)
    return model.forward(ids[half - 1 : -1], cache, all_logits=True).logits
