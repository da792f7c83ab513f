"""Errors, times and sizes of each matrix, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference.architectures import DecoderConfig, DecoderWeights
from inference.formats.packed_matrix import PLAIN_BITS, TILE, PackedMatrix, padded_columns, tiles
from inference.packing.body import size_in_bits
from inference.packing.quantizer import Way
from inference.profiling.energy import Energy
from inference.profiling.errors import Errors, MatrixErrors, plain_error
from inference.profiling.latency import ways_with_plain
from inference.profiling.records import Form, Held, Measured

__all__ = ["Ends", "measured", "shapes_and_ways"]

Key = tuple[tuple[int, int], Way]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Embeddings, and an output matrix if there is one of its own: ``errors`` by name."""

    shape: tuple[int, int]
    errors: Mapping[str, float]

    @classmethod
    def of(cls, config: DecoderConfig, weights: DecoderWeights) -> "Ends":
        shape = (config.vocabulary, config.width)
        names = [name for name in ("embedding", "head") if weights.has(name)]
        errors = {name: plain_error(weights.matrix(name, shape).dense()) for name in names}
        return cls(shape=shape, errors=errors)


def shapes_and_ways(found: Sequence[MatrixErrors], ends: Ends, group: int) -> list[Key]:
    """What has to be timed."""
    keys = [(each.shape, way) for each in found for way in ways_with_plain(group)]
    return [*keys, (ends.shape, Way(bits=PLAIN_BITS, group=group))]


def measured(
    found: Sequence[MatrixErrors],
    ends: Ends,
    times: Mapping[Key, float],
    held: Mapping[str, PackedMatrix],
    energy: Energy,
    group: int,
) -> list[Measured]:
    """The ends first, then the layers in order. ``times`` in microseconds."""
    made = _Forms(times, energy)
    plain = Way(bits=PLAIN_BITS, group=group)
    rows, columns = ends.shape
    first = [
        Measured(
            name=name,
            rows=rows,
            columns=columns,
            forms=(made.form(ends.shape, plain, error, None),),
            # A row of the embeddings is looked up; all of them are read as the output matrix.
            read=name == "head" or "head" not in ends.errors,
        )
        for name, error in ends.errors.items()
    ]
    body = [
        Measured(
            name=each.name,
            rows=each.shape[0],
            columns=each.shape[1],
            forms=tuple(
                made.form(each.shape, way, errors.weights, errors)
                for way, errors in each.by_way.items()
            ),
            held=_held(each.held, held.get(each.name)),
        )
        for each in found
    ]
    return [*first, *body]


def _held(errors: Errors | None, matrix: PackedMatrix | None) -> Held | None:
    if errors is None or matrix is None:
        return None
    return Held(
        bits=matrix.bits,
        offsets=matrix.offsets is not None,
        bytes=matrix.bytes,
        error=errors.weights,
        output_error=errors.outputs,
    )


class _Forms:
    def __init__(self, times: Mapping[Key, float], energy: Energy) -> None:
        self._times = times
        self._energy = energy

    def form(self, shape: tuple[int, int], way: Way, error: float, more: Errors | None) -> Form:
        size = _bytes(shape, way)
        return Form(
            bits=way.bits,
            offsets=way.offsets,
            bytes=size,
            latency_us=self._times[shape, way],
            energy_uj=self._energy.of_product_uj(size, shape[0] * shape[1]),
            error=error,
            output_error=None if more is None else more.outputs,
            loss=None if more is None else more.loss,
        )


def _bytes(shape: tuple[int, int], way: Way) -> int:
    if way.bits == PLAIN_BITS:
        high = tiles(shape[0]) * TILE
        return high * (padded_columns(shape[1], way.group) + 2)
    return round(size_in_bits(*shape, way) / 8)
