"""Low-rank changes found in closed form, layer by layer: where distillation begins.

A packed matrix Q stands in the place of W. The change ``B A`` of rank r that brings Q nearest to W
makes least what the error E = W - Q - B A costs as the inputs x of that place and the slopes g
behind it weigh it, ``trace(G E H E^T)``. With H = E[x x^T] = L L^T and G = E[g g^T] = R R^T it is
the best rank-r form of R^T (W - Q) L, times R^-T and L^-1 (Zhang et al. 2025, QERA, for H alone).
Of the 0.0327 nats between the default model at 4.25 bits and its source, on held-out text, H alone
left 0.0301 and both left 0.0288.

Only H and G are learnt from text. To aim at the source's own states instead, drift of the layers
before included, was tried and is worse: little of that drift can be foretold from x, and over
16,000 tokens the regression fits the rest (perplexity of the default model at 3.5 bits: 18.66
without changes, 19.2 with those).

What attention and feed-forward add to the residual stream meets a norm: there a token counts by the
size of its stream. A sequence's first token, whose states are hundreds of times larger, would else
be all that is fitted.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from inference.adapters import matrix_shapes
from inference.training.decoder import TrainableDecoder
from inference.training.low_rank import GROUPS, LowRankChanges
from inference.training.output_slopes import NORMED, output_moments
from lanai.errors import UsageError

__all__ = ["fit_changes"]

_DAMPING = 0.01
_SHRINKAGE = 0.1  # of G towards its diagonal: it is of few tokens
_FOR_SLOPES = 12  # sequences
_LITTLE = 0.03  # 8-bit steps lose 1 %, 4-bit codes 8 %
_SLICE = 4096  # tokens whose inputs are in float32 at a time


def fit_changes(
    packed: TrainableDecoder,
    source: TrainableDecoder,
    ids: Tensor,
    *,
    rank: int,
    on_layer: Callable[[int], None] | None = None,
) -> LowRankChanges:
    """``ids``: int64, (sequences, n), of the source, all held in memory at once.

    Matrices of which packing lost less than ``_LITTLE`` get no pair: where codes were kept, a pair
    is spent on nothing.

    Raises ``UsageError`` for two models that are not of one shape, or are the same.
    """
    if packed.config != source.config:
        raise UsageError("the packed model is not of this source", hint="name the model it is of")
    only = _rounded(packed, source)
    if not only:
        raise UsageError(
            "packing lost nothing that a change could bring back", hint="this needs no adapter"
        )
    slopes = output_moments(source, ids[-_FOR_SLOPES:], only=only)
    fitter = _Fitter(packed, source, LowRankChanges(packed.config, rank=rank, only=only), slopes)
    with torch.no_grad():
        stream = packed.embedded(ids)
        for layer in range(packed.config.layers):
            for part in (packed.attended, packed.fed):
                fitter.weight = stream.square().mean(-1).clamp_min(1e-12).rsqrt()
                stream = stream + part(layer, stream, fitter)
            if on_layer is not None:
                on_layer(layer)
    return fitter.found


def _rounded(packed: TrainableDecoder, source: TrainableDecoder) -> list[str]:
    """Matrices that packing changed by more than ``_LITTLE`` of their size."""
    found, shapes = [], matrix_shapes(packed.config)
    for index, (mine, theirs) in enumerate(zip(packed.layers, source.layers, strict=True)):
        for group, parts in GROUPS.items():
            weight = getattr(theirs, group).float()
            lost = getattr(mine, group).float() - weight
            names = [f"layers.{index}.{part}" for part in parts]
            rows = [shapes[name][0] for name in names]
            pairs = zip(names, lost.split(rows), weight.split(rows), strict=True)
            found += [name for name, error, whole in pairs if error.norm() > _LITTLE * whole.norm()]
    return found


class _Fitter:
    """Fits the changes of a product when its input comes by, and applies them."""

    def __init__(
        self,
        packed: TrainableDecoder,
        source: TrainableDecoder,
        found: LowRankChanges,
        slopes: Mapping[str, Tensor],
    ) -> None:
        self.found = found
        self.weight = torch.empty(0)
        self._packed, self._source, self._slopes = packed, source, slopes
        self._shapes = matrix_shapes(packed.config)

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        names = [f"layers.{layer}.{part}" for part in GROUPS[group]]
        if self.found.a.keys().isdisjoint(names):
            return y
        weight = torch.ones(x.shape[:-1]) if group in NORMED else self.weight
        root = torch.linalg.cholesky(_moments(x.flatten(0, -2), weight.flatten()))
        mine, theirs = (
            getattr(model.layers[layer], group) for model in (self._packed, self._source)
        )
        rows = [self._shapes[name][0] for name in names]
        for name, lost in zip(names, torch.split(theirs.float() - mine.float(), rows), strict=True):
            if name not in self.found.a:
                continue
            a, b = _reduced_rank(lost, root, _slope_root(self._slopes[name]), self.found.rank)
            found = a.shape[0]  # a narrow matrix has no more ranks than rows
            self.found.a[name].zero_()[:found] = a
            self.found.b[name].zero_()[:, :found] = b
        return self.found.changed(layer, group, x, y)


def _moments(x: Tensor, weight: Tensor) -> Tensor:
    """E[x x^T] of weighted tokens, damped, (columns, columns)."""
    own = torch.zeros(x.shape[1], x.shape[1])
    for first in range(0, x.shape[0], _SLICE):
        inputs = x[first : first + _SLICE].float() * weight[first : first + _SLICE, None]
        own.addmm_(inputs.T, inputs)
    own /= x.shape[0]
    own.diagonal().add_(_DAMPING * own.diagonal().mean() + 1e-12)
    return own


def _slope_root(moments: Tensor) -> Tensor:
    """R of the slopes' moments at any scale, shrunk towards their diagonal, (rows, rows)."""
    own = moments / moments.diagonal().mean().clamp_min(1e-30)
    across = own.diagonal() * _SHRINKAGE + _DAMPING * _SHRINKAGE
    own.mul_(1 - _SHRINKAGE).diagonal().add_(across)
    root: Tensor = torch.linalg.cholesky(own.double())
    return root.float()


def _reduced_rank(
    lost: Tensor, root: Tensor, slope_root: Tensor, rank: int
) -> tuple[Tensor, Tensor]:
    """``a``, (rank, columns), and ``b``, (rows, rank), of like size; ``rank`` or what there is."""
    left, sizes, right = _largest(slope_root.T @ lost @ root, rank)
    a = torch.linalg.solve_triangular(root.T, right, upper=True).T
    b = torch.linalg.solve_triangular(slope_root.T, left * sizes, upper=True)
    balance = (a.norm(dim=1) / b.norm(dim=0).clamp_min(1e-30)).sqrt().clamp_min(1e-30)
    return a / balance[:, None], b * balance


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
