"""Which errors at a matrix's output matter: second moments of the slopes there.

An error e at the output of a product costs about ``e^T G e / 2`` nats, with G = E[g g^T] of the
slopes g of the log probability of tokens the model drew itself (Fisher's information). With
E[x x^T] of what enters it makes the Kronecker-factored curvature of that matrix (Martens & Grosse
2015).

What is added to the residual stream counts by its share of a token's stream, see ``curvature``.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference.adapters import matrix_shapes
from inference.training.decoder import TrainableDecoder
from inference.training.low_rank import GROUPS

__all__ = ["NORMED", "output_moments"]

NORMED: Final = ("qkv", "gate_up")  # products whose input went through a norm


def output_moments(
    source: TrainableDecoder, ids: Tensor, *, only: Collection[str] | None = None
) -> dict[str, Tensor]:
    """By name of a matrix G, float32, (rows, rows), summed over tokens.

    ``ids``: int64, (sequences, n), written by ``source``. ``only``: the matrices to look at;
    ``None``: all. They are held at once: all of the default model take 0.7 GB.
    """
    rows = {name: shape[0] for name, shape in matrix_shapes(source.config).items()}
    sums = {name: torch.zeros(rows[name], rows[name]) for name in (rows if only is None else only)}
    watch = _Watch(sums, rows)
    for row in ids:
        with torch.enable_grad():
            _loss(source, row, watch).backward()  # type: ignore[no-untyped-call]
    return sums


def _loss(source: TrainableDecoder, row: Tensor, watch: "_Watch") -> Tensor:
    x = source.embedded(row[None]).requires_grad_()
    for layer in range(source.config.layers):
        for part in (source.attended, source.fed):
            watch.size = x.detach().square().mean(-1, keepdim=True).sqrt()
            x = x + part(layer, x, watch)
    logits = source.logits(source.final(x)[0, :-1])
    return functional.cross_entropy(logits, row[1:], reduction="sum")


class _Watch:
    """``Changes`` that change nothing, and add up the slopes that come back."""

    def __init__(self, sums: dict[str, Tensor], rows: Mapping[str, int]) -> None:
        self._sums = sums
        self._rows = rows
        self.size = torch.empty(0)

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        names = [f"layers.{layer}.{part}" for part in GROUPS[group]]
        if self._sums.keys().isdisjoint(names):
            return y
        size = None if group in NORMED else self.size

        def back(slope: Tensor) -> None:
            self._add(names, slope.float() if size is None else slope.float() * size)

        y.register_hook(back)  # type: ignore[no-untyped-call]  # torch types it so
        return y

    def _add(self, names: Sequence[str], slope: Tensor) -> None:
        rows = [self._rows[name] for name in names]
        for name, part in zip(names, torch.split(slope.flatten(0, -2), rows, 1), strict=True):
            if name in self._sums:
                self._sums[name].addmm_(part.T, part)
