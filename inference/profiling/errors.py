"""What rounding does to each matrix: to its weights, its outputs and, estimated, to the loss.

Plan of ``measure_errors``:
    1. sensitivities, as packing computes them: squares of inputs, squares of the loss's slopes
    2. some inputs of every matrix, from one more window
    3. each matrix in every way there is, as packing chooses among them (codes kept where they can
       be, else plainly rounded), and as the packed model holds it

The loss grows by half the sum of ``E[r,c]^2 slope[r] input[c]`` of ``packing.sensitivity``, divided
by the tokens twice: once for each of the two sums. It takes errors as small and as uncorrelated.
Packing spreads each error over later columns, so what is packed costs less than is estimated here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from inference.architectures import DecoderWeights
from inference.attention import Attention
from inference.decoder import Decoder, Layer
from inference.formats.packed_matrix import PLAIN_BITS, PackedMatrix
from inference.linear import DenseLinear, Linear
from inference.matrix import GridMatrix
from inference.packing.body import BODY, body_matrices, ways
from inference.packing.calibration import Moments
from inference.packing.choice import cost, grids_of, roughly_held
from inference.packing.quantizer import Way, quantize_rows
from inference.packing.sensitivity import sensitivity

__all__ = ["Errors", "MatrixErrors", "measure_errors", "plain_error", "round_in_place"]

SAMPLE: Final = 128  # rows of inputs kept of each matrix
Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """See ``records.Form``."""

    weights: float
    outputs: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixErrors:
    """Of one matrix of the layers, by way; ``held``: as a packed model holds it.

    ``inputs``: sums of squares of what enters it, (columns,).
    """

    name: str
    shape: tuple[int, int]
    inputs: Tensor
    by_way: Mapping[Way, Errors]
    held: Errors | None


def measure_errors(
    decoder: Decoder,
    weights: DecoderWeights,
    slopes_of: Sequence[Tensor],
    group: int,
    held: Mapping[str, PackedMatrix],
    tick: Tick,
) -> Iterator[MatrixErrors]:
    """``slopes_of``: windows of ids for the sensitivities; the last gives the inputs too."""
    moments = sensitivity(decoder, slopes_of)  # 1
    seen = _inputs(decoder, slopes_of[-1])  # 2
    layers = decoder.config.layers
    for index in range(layers):  # 3
        grids = grids_of(decoder.config, weights, index)
        for part in BODY:
            known, first = moments[index, part], 0
            for name, weight in body_matrices(decoder.config, weights, index, part):
                slopes = known.slopes[first : first + weight.shape[0]]
                first += weight.shape[0]
                judge = _Judge(weight, grids.get(name), seen[index, part], known, slopes)
                yield MatrixErrors(
                    name=name,
                    shape=(weight.shape[0], weight.shape[1]),
                    inputs=known.inputs,
                    by_way=judge.all_ways(group),
                    held=judge.held(held.get(name)),
                )
        tick(index + 1, layers)


class _Judge:
    """Of one matrix."""

    def __init__(
        self,
        weight: Tensor,
        grid: GridMatrix | None,
        inputs: Tensor,
        moments: Moments,
        slopes: Tensor,
    ) -> None:
        self._weight = weight
        self._grid = grid
        self._inputs = inputs
        self._moments = moments
        self._slopes = slopes
        self._size = float(weight.norm())
        self._output = float((inputs @ weight.T).norm())

    def all_ways(self, group: int) -> dict[Way, Errors]:
        found = {
            way: self._errors(roughly_held(self._weight, self._grid, self._moments.inputs, way))
            for way in ways(group)
        }
        found[Way(bits=PLAIN_BITS, group=group)] = self._errors(_plain(self._weight))
        return found

    def held(self, matrix: PackedMatrix | None) -> Errors | None:
        if matrix is None:
            return None
        return self._errors(torch.from_numpy(matrix.dense_rows(0, matrix.shape[0])))

    def _errors(self, changed: Tensor) -> Errors:
        error = changed - self._weight
        outputs = float((self._inputs @ error.T).norm())
        return Errors(
            weights=float(error.norm()) / max(self._size, 1e-30),
            outputs=outputs / max(self._output, 1e-30),
            loss=cost(error, self._moments.inputs, self._slopes) / (2 * self._moments.count**2),
        )


def _plain(weight: Tensor) -> Tensor:
    values, scale = quantize_rows(weight)
    return values.float() * scale[:, None]


def plain_error(table: Tensor) -> float:
    """Of embeddings or an output matrix in 8 bits: norm of the change over that of the weights."""
    return float((_plain(table) - table).norm() / table.norm().clamp_min(1e-30))


class _Kept:
    """A ``Linear`` that keeps some of the rows that enter it."""

    def __init__(self, inner: Linear) -> None:
        self.inner = inner
        self.rows: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        self.rows = x[:: max(1, len(x) // SAMPLE)].float()
        return self.inner(x)


def _owner(layer: Layer, part: str) -> Attention | Layer:
    """The object whose attribute ``part`` is that product."""
    return layer.attention if part in ("qkv", "output") else layer


def _inputs(decoder: Decoder, ids: Tensor) -> dict[tuple[int, str], Tensor]:
    """Rows that enter the product of each (layer, part), (SAMPLE or a few more, columns)."""
    kept: dict[tuple[int, str], _Kept] = {}
    for index, layer in enumerate(decoder.layers):
        for part in BODY:
            owner = _owner(layer, part)
            kept[index, part] = _Kept(getattr(owner, part))
            setattr(owner, part, kept[index, part])
    try:
        decoder.forward(ids, decoder.new_cache(len(ids)))
    finally:
        for (index, part), linear in kept.items():
            setattr(_owner(decoder.layers[index], part), part, linear.inner)
    return {key: linear.rows for key, linear in kept.items() if linear.rows is not None}


def round_in_place(
    decoder: Decoder,
    weights: DecoderWeights,
    found: Mapping[str, MatrixErrors],
    chosen: Mapping[str, Way],
) -> None:
    """Every matrix of ``decoder`` as ``chosen`` roughly holds it; the decoder stays that way."""
    config = decoder.config
    for index, layer in enumerate(decoder.layers):
        grids = grids_of(config, weights, index)
        for part in BODY:
            changed = [
                roughly_held(weight, grids.get(name), found[name].inputs, chosen[name])
                for name, weight in body_matrices(config, weights, index, part)
            ]
            bias = weights.qkv(config.width, config.shapes[index], index)[1]
            own = bias if part == "qkv" else None
            setattr(_owner(layer, part), part, DenseLinear(torch.cat(changed), own))
