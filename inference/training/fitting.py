"""Low-rank changes found by least squares, layer by layer: where distillation begins.

A packed matrix Q stands in the place of W. What it gives for its own input x is compared with what
the source has in the same place, and the change ``B A`` of rank r that comes nearest, over the
tokens of some text, has a closed form (reduced-rank regression, Izenman 1975). With H = E[x x^T]
= L L^T and C = E[(wanted - Q x) x^T], it is the best rank-r form of C L^-T, times L^-1.

What is wanted of q, k, v, gate and up is the source's own output. What output and down add is to
bring the whole residual stream to the source's: so they make up for all layers before them. There a
token counts by the size of its stream, as the norm behind it does: a sequence's first token, whose
states are hundreds of times larger, would else be all that is fitted.

Plan of ``fit_changes``, for each layer:
    1. attention, then feed-forward, of the source: the outputs to be met, its next stream
    2. the same of the packed model; each product's change is fitted as its input passes, and the
       pass goes on with the change in its place
"""

from collections.abc import Callable

import torch
from torch import Tensor

from inference.training.decoder import TrainableDecoder
from inference.training.low_rank import GROUPS, LowRankChanges
from lanai.errors import UnsupportedModel, UsageError

__all__ = ["fit_changes"]

_DAMPING = 0.01
_SLICE = 4096  # tokens whose inputs are in float32 at a time


def fit_changes(
    packed: TrainableDecoder,
    source: TrainableDecoder,
    ids: Tensor,
    *,
    rank: int,
    on_layer: Callable[[int], None] | None = None,
) -> LowRankChanges:
    """``ids``: int64, (sequences, n), all held in memory at once. Raises ``UsageError`` for two
    models that are not of one shape."""
    if packed.config.sandwich_norms:
        raise UnsupportedModel("this family cannot be packed yet", hint="families: llama, qwen")
    if packed.config != source.config:
        raise UsageError("the packed model is not of this source", hint="name the model it is of")
    fitter = _Fitter(LowRankChanges(packed.config, rank=rank))
    with torch.no_grad():
        mine, theirs = packed.embedded(ids), source.embedded(ids)
        for layer in range(packed.config.layers):
            for part in (TrainableDecoder.attended, TrainableDecoder.fed):
                theirs = theirs + part(source, layer, theirs, fitter.source)  # 1
                fitter.stream = theirs - mine
                fitter.weight = theirs.square().mean(-1, keepdim=True).clamp_min(1e-12).rsqrt()
                mine = mine + part(packed, layer, mine, fitter)  # 2
            if on_layer is not None:
                on_layer(layer)
    return fitter.found


class _Seen:
    """Changes nothing; remembers what the source gave."""

    def __init__(self) -> None:
        self.last = torch.empty(0)

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        if group in ("qkv", "gate_up"):
            self.last = y
        return y


class _Fitter:
    """Fits the changes of a product when its input comes by, and applies them."""

    def __init__(self, found: LowRankChanges) -> None:
        self.found = found
        self.source: _Seen = _Seen()
        self.stream = torch.empty(0)
        self.weight = torch.empty(0)

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        inner = group in ("qkv", "gate_up")
        missing = (self.source.last if inner else self.stream) - y
        weight = torch.ones(1).expand(x.shape[:-1]) if inner else self.weight[..., 0]
        own, cross = _moments(x.flatten(0, -2), missing.flatten(0, -2), weight.flatten())
        names = [f"layers.{layer}.{part}" for part in GROUPS[group]]
        rows = [self.found.b[name].shape[0] for name in names]
        root = torch.linalg.cholesky(own)
        for name, part in zip(names, torch.split(cross, rows), strict=True):
            a, b = _reduced_rank(part, root, self.found.rank)
            found = a.shape[0]  # a narrow matrix has no more ranks than rows
            self.found.a[name].zero_()[:found] = a
            self.found.b[name].zero_()[:, :found] = b
        return self.found.changed(layer, group, x, y)


def _moments(x: Tensor, missing: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of weighted tokens: E[x x^T], damped, (columns, columns), E[missing x^T], (rows, columns).

    ``weight``: (tokens,), of a token's numbers.
    """
    own = torch.zeros(x.shape[1], x.shape[1])
    cross = torch.zeros(missing.shape[1], x.shape[1])
    for first in range(0, x.shape[0], _SLICE):
        some = slice(first, first + _SLICE)
        inputs = x[some].float() * weight[some, None]
        own.addmm_(inputs.T, inputs)
        cross.addmm_((missing[some].float() * weight[some, None]).T, inputs)
    own, cross = own / x.shape[0], cross / x.shape[0]
    own.diagonal().add_(_DAMPING * own.diagonal().mean() + 1e-12)
    return own, cross


def _reduced_rank(cross: Tensor, root: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``a``, (rank, columns), and ``b``, (rows, rank), of like size; ``rank`` or what there is."""
    whitened = torch.linalg.solve_triangular(root, cross.T, upper=False).T
    left, sizes, right = _largest(whitened, rank)
    a = torch.linalg.solve_triangular(root.T, right, upper=True).T
    balance = (a.norm(dim=1) / sizes.clamp_min(1e-30)).sqrt()
    return a / balance[:, None].clamp_min(1e-30), left * sizes * balance


def _largest(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``rank`` largest singular triples; right vectors in columns."""
    # Of the smaller Gram matrix: its eigenvectors cost far less than all singular vectors.
    wide = matrix.shape[1] > matrix.shape[0]
    tall = matrix.T if wide else matrix
    values, vectors = torch.linalg.eigh((tall.T @ tall).double())
    kept = vectors[:, -rank:].float()
    sizes = values[-rank:].clamp_min(0).sqrt().float()
    other = (tall @ kept) / sizes.clamp_min(1e-20)
    return (kept, sizes, other) if wide else (other, sizes, kept)
