"""The packed model again, of its source and a delta: to the byte, on every machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.catalog.copying import digest_of
from inference.catalog.installed import ADAPTER
from inference.deltas.delta_file import Change, Delta
from inference.deltas.pairing import grid_by_column, other_model
from inference.deltas.prediction import COLUMN_CLASSES, Predictor, Spread, padded_weights
from inference.deltas.rans import Decoder
from inference.formats.packed import WEIGHTS
from inference.formats.packed_matrix import PackedMatrix, by_tile, from_bfloat16, pack_codes
from inference.loading import open_weights
from inference.matrix import Matrix
from inference.packing.assembly import Packed, add_ends
from inference.packing.folder import fill_folder
from inference.packing.kept import layer_matrices
from lanai.errors import ModelFormatError

__all__ = ["fill_restored", "restored"]

Bytes = NDArray[np.uint8]
Progress = Callable[[int, int], None]
N = TypeVar("N", np.int8, np.uint8, np.uint16)


def fill_restored(folder: Path, source: Path, delta: Delta, *, progress: Progress) -> Packed:
    """Write the model, its text side and its adapter into ``folder``.

    Raises as ``restored`` does, and ``ModelFormatError`` where not the model came out that was.
    """
    packed = restored(delta, source, progress=progress)
    fill_folder(folder, source, packed)
    if digest_of(folder / WEIGHTS) != delta.weights:
        raise _damaged()
    if delta.files:
        (folder / ADAPTER).mkdir()
    for name, data in delta.files.items():
        (folder / ADAPTER / name).write_bytes(data)
    return packed


def restored(delta: Delta, source: Path, *, progress: Progress) -> Packed:
    """The packed model. ``progress`` hears layers done, of all.

    Raises ``UsageError`` for a source of another shape, ``ModelFormatError`` for a delta that does
    not fit together. Whether it is the model that was, its digest tells.
    """
    config, read, _ = open_weights(source)
    packed = Packed(config=config, group=delta.group)
    reading = _Restoring(delta)
    for index in range(config.layers):
        for name, matrix in layer_matrices(config, read, index):
            if (change := delta.matrices.get(name)) is None:
                raise other_model()
            with np.errstate(over="ignore", invalid="ignore"):  # of row scales that nobody wrote
                packed.matrices[name] = reading.matrix(change, matrix)
        progress(index + 1, config.layers)
    reading.require_end()
    add_ends(packed, read)
    return packed


class _Restoring:
    """Takes from the delta's arrays and streams what the next matrix needs."""

    def __init__(self, delta: Delta) -> None:
        self._group = delta.group
        self._decoders = {
            name: Decoder(stream.encoded, stream.odds) for name, stream in delta.streams.items()
        }
        self._palettes = _Pieces(delta.palettes)
        self._row_scales = _Pieces(delta.row_scales)
        self._classes = _Pieces(delta.classes)

    def matrix(self, change: Change, matrix: Matrix) -> PackedMatrix:
        weights = padded_weights(matrix, self._group)
        palette = self._palettes.next(1 << change.bits)
        stored = self._row_scales.next(len(weights))
        classes = self._classes.next(weights.shape[1])
        if not (classes < COLUMN_CLASSES).all():
            raise _damaged()
        row_scale, spread = from_bfloat16(stored), Spread.of(weights, self._group)
        predictor = Predictor(change.bits, palette)
        expected = predictor.scales(spread, row_scale, change.reach)
        found = expected + self._decoded("scales", predictor.scale_contexts(expected))
        scales, offsets, shifts = found.astype(np.float32), None, None
        if change.offsets:
            expected = predictor.offsets(spread, row_scale, scales)
            given = expected + self._decoded("offsets", predictor.offset_contexts(expected))
            offsets = given.view(np.int8)
            shifts = offsets.astype(np.float32)
        steps, columns = grid_by_column(row_scale, scales, shifts, self._group)
        nearest, places = predictor.codes(weights, steps, columns)
        contexts = predictor.code_contexts(places, classes)
        codes = predictor.sum(self._decoded("codes", contexts), nearest)
        return PackedMatrix(
            shape=matrix.shape,
            bits=change.bits,
            group=self._group,
            codes=pack_codes(codes, change.bits, self._group),
            row_scale=stored,
            palette=palette,
            scales=by_tile(found),
            offsets=None if offsets is None else by_tile(offsets),
        )

    def require_end(self) -> None:
        decoded = all(decoder.done for decoder in self._decoders.values())
        if not decoded or self._palettes.left or self._row_scales.left or self._classes.left:
            raise _damaged()

    def _decoded(self, name: str, contexts: NDArray[np.uint16]) -> Bytes:
        return self._decoders[name].decode(contexts.ravel()).reshape(contexts.shape)


class _Pieces(Generic[N]):
    """An array that is taken piece by piece."""

    def __init__(self, values: NDArray[N]) -> None:
        self._values: NDArray[N] = values
        self._taken = 0

    @property
    def left(self) -> int:
        return len(self._values) - self._taken

    def next(self, size: int) -> NDArray[N]:
        if self.left < size:
            raise _damaged()
        first, self._taken = self._taken, self._taken + size
        piece: NDArray[N] = self._values[first : self._taken]
        return piece


def _damaged() -> ModelFormatError:
    return ModelFormatError("the delta is damaged", hint="fetch or make it again")
