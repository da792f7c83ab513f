"""Second moments of the slopes at the outputs of products, against differences of the loss."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inference.adapters import matrix_shapes
from inference.training import TrainableDecoder
from inference.training.output_slopes import output_moments

IDS = torch.tensor([7, 200])


@dataclass(frozen=True)
class Moved:
    """``Changes`` that add ``by`` to the first token's output of one product."""

    layer: int
    group: str
    by: Tensor

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        if (layer, group) != (self.layer, self.group):
            return y
        return torch.cat([y[:, :1] + self.by.to(y.dtype), y[:, 1:]], 1)


def loss(model: TrainableDecoder, changes: Moved) -> float:
    logits = model.logits(model.hidden(IDS[None], changes)[0, :1])
    return float(functional.cross_entropy(logits, IDS[1:]))


@pytest.mark.parametrize(
    ("layer", "group", "part"), [(0, "output", "output"), (1, "gate_up", "up"), (1, "down", "down")]
)
def test_moments_are_those_of_the_slopes(
    tiny: TrainableDecoder, layer: int, group: str, part: str
) -> None:
    """Of one predicted token: along any direction the root of the quadratic form is how fast the
    loss changes, times the size of the stream where the product is added to it."""
    name = f"layers.{layer}.{part}"
    moments = output_moments(tiny, IDS[None])[name]
    rows = matrix_shapes(tiny.config)[name][0]
    along = functional.normalize(
        torch.randn(rows, generator=torch.Generator().manual_seed(3)), dim=0
    )
    whole = torch.cat([torch.zeros(rows), along]) if part == "up" else along
    step = 1e-2
    low, high = (loss(tiny, Moved(layer, group, sign * step * whole)) for sign in (-1, 1))
    size = 1.0 if group == "gate_up" else stream_size(tiny, layer, group)
    expected = (high - low) / (2 * step) * size
    assert float(along @ moments @ along) ** 0.5 == pytest.approx(abs(expected), rel=0.05)


def stream_size(model: TrainableDecoder, layer: int, group: str) -> float:
    """Root mean square of the first token's stream before that part."""
    x = model.embedded(IDS[None])
    for index in range(layer):
        x = model.block(index, x)
    if group == "down":
        x = x + model.attended(layer, x)
    return float(x[0, 0].square().mean().sqrt())
