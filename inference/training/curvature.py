"""Which errors of the residual stream matter: curvature of the divergence behind each layer.

An error e in the stream behind a layer costs about ``e^T F e / 2`` nats of KL(source || packed),
with F = E[g g^T] of the slopes g of the log probability of tokens that the model drew itself
(Fisher's information; Amari 1998). Text the source wrote is just that. Block-wise reconstruction
weighted so is that of Li et al. 2021, BRECQ, with the whole matrix in the place of its diagonal.

The stream meets norms only, so an error counts by its share of a token's stream: errors are divided
by the root mean square of the source's stream, and slopes multiplied by it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from inference.training.decoder import TrainableDecoder

__all__ = ["curvature_roots", "relative"]

_DAMPING = 0.02


def relative(error: Tensor, stream: Tensor) -> Tensor:
    """``error`` as a share of each token's ``stream``, (…, width)."""
    return error * stream.square().mean(-1, keepdim=True).clamp_min(1e-12).rsqrt()


def curvature_roots(source: TrainableDecoder, ids: Tensor) -> list[Tensor]:
    """For each layer the L with F = L L^T, float32, (width, width), of relative errors behind it.

    ``ids``: int64, (sequences, n), written by ``source``.
    """
    width = source.config.width
    sums = [torch.zeros(width, width) for _ in source.layers]
    for row in ids:
        for total, (stream, slope) in zip(sums, _slopes(source, row[None]), strict=True):
            size = stream.square().mean(-1, keepdim=True).sqrt()
            scaled = slope * size
            total.addmm_(scaled.T, scaled)
    return [_root(total / ids.numel()) for total in sums]


def _slopes(source: TrainableDecoder, ids: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Streams behind the layers and slopes of the summed loss there, (n, width) each."""
    with torch.enable_grad():
        x = source.embedded(ids).requires_grad_()
        streams = []
        for layer in range(len(source.layers)):
            x = source.block(layer, x)
            streams.append(x)
        logits = source.logits(source.final(x)[0, :-1])
        loss = functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        slopes = torch.autograd.grad(loss, streams)
    return [(stream[0].detach(), slope[0]) for stream, slope in zip(streams, slopes, strict=True)]


def _root(curvature: Tensor) -> Tensor:
    curvature.diagonal().add_(_DAMPING * curvature.diagonal().mean() + 1e-30)
    root: Tensor = torch.linalg.cholesky(curvature.double())
    return root.float()
