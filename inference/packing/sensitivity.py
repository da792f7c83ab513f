"""How much the loss minds an error in each matrix, from one backward pass over the text.

To second order, with inputs and slopes taken as independent and errors as uncorrelated (the
diagonal of Kronecker-factored curvature, Martens & Grosse 2015), an error E in a matrix costs
``sum over rows r and columns c of E[r,c]^2 * slope[r] * input[c]``.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference.cache import Cache
from inference.decoder import Decoder
from inference.linear import Linear
from inference.packing.calibration import Moments

__all__ = ["PARTS", "sensitivity"]

PARTS: Final = ("qkv", "output", "gate_up", "down")


class _Watched:
    """A ``Linear`` that adds what passes through it, and the slopes that come back."""

    def __init__(self, inner: Linear) -> None:
        self._inner = inner
        self.moments: Moments | None = None

    def __call__(self, x: Tensor) -> Tensor:
        y = self._inner(x)
        if self.moments is None:
            self.moments = Moments.zero(y.shape[1], x.shape[1])
        moments = self.moments
        moments.inputs += x.detach().square().sum(0)
        moments.count += x.shape[0]
        y.register_hook(self._back)  # type: ignore[no-untyped-call]  # torch types it so
        return y

    def _back(self, slope: Tensor) -> None:
        if self.moments is not None:
            self.moments.slopes += slope.square().sum(0)


def sensitivity(decoder: Decoder, pieces: Sequence[Tensor]) -> dict[tuple[int, str], Moments]:
    """Moments of each (layer, part of ``PARTS``). The decoder is as before afterwards."""
    watched: dict[tuple[int, str], _Watched] = {}
    for index, layer in enumerate(decoder.layers):
        for part in PARTS:
            owner = layer.attention if part in ("qkv", "output") else layer
            watched[index, part] = _Watched(getattr(owner, part))
            setattr(owner, part, watched[index, part])
    try:
        for ids in pieces:
            _backward(decoder, ids)
    finally:
        for (index, part), linear in watched.items():
            layer = decoder.layers[index]
            owner = layer.attention if part in ("qkv", "output") else layer
            setattr(owner, part, linear._inner)
    return {key: linear.moments for key, linear in watched.items() if linear.moments is not None}


def _backward(decoder: Decoder, ids: Tensor) -> None:
    """Slopes of the summed loss of one window."""
    cache: Cache = decoder.new_cache(len(ids))
    with torch.enable_grad():
        x = decoder.embedding(ids).requires_grad_()
        for layer in decoder.layers:
            x = layer(x, cache)
        logits = decoder.head(decoder.final_norm(x[:-1])).float()
        functional.cross_entropy(logits, ids[1:], reduction="sum").backward()  # type: ignore[no-untyped-call]
