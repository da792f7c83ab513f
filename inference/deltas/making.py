"""A delta of a packed model: what it has beyond what is predicted of its source.

Embeddings, head, norms and biases must be those that packing takes from the source as they are.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.architectures import DecoderConfig, DecoderWeights
from inference.deltas.delta_file import STREAMS, Change, Delta, Stream
from inference.deltas.pairing import grid_by_column, other_model
from inference.deltas.prediction import COLUMN_CLASSES, Predictor, Spread, padded_weights
from inference.deltas.rans import encode, odds_of
from inference.formats.packed import PackedFile
from inference.formats.packed_matrix import (
    PLAIN_BITS,
    PackedMatrix,
    by_row,
    from_bfloat16,
    unpack_codes,
)
from inference.loading import open_weights
from inference.matrix import Matrix
from inference.packing.assembly import Packed, add_ends
from inference.packing.kept import layer_matrices
from lanai.errors import UsageError

__all__ = ["make_delta"]

LANES: Final = {"scales": 1024, "offsets": 256, "codes": 16384}
"""States side by side: each takes four bytes of the file."""
Bytes = NDArray[np.uint8]


def make_delta(
    file: PackedFile, source: Path, *, of: str, weights: str, files: dict[str, bytes]
) -> Delta:
    """``of``, ``weights``: SHA-256 of the source's weights and of ``file``.

    Raises ``UsageError`` when ``file`` was not packed of ``source``.
    """
    config, read, _ = open_weights(source)
    making = _Making(group=file.group)
    for index in range(config.layers):
        for name, matrix in layer_matrices(config, read, index):
            making.add(name, _same_shape(file.matrices.get(name), matrix), matrix)
    _require_same_ends(file, config, read)
    return Delta(
        source=of,
        weights=weights,
        group=file.group,
        matrices=making.matrices,
        streams={name: making.stream(name) for name in STREAMS},
        palettes=np.concatenate(making.palettes),
        row_scales=np.concatenate(making.row_scales),
        classes=np.concatenate(making.classes),
        files=files,
    )


@dataclass(slots=True, kw_only=True)
class _Making:
    group: int
    matrices: dict[str, Change] = field(default_factory=dict)
    palettes: list[NDArray[np.int8]] = field(default_factory=list)
    row_scales: list[NDArray[np.uint16]] = field(default_factory=list)
    classes: list[Bytes] = field(default_factory=list)
    parts: dict[str, list[tuple[Bytes, NDArray[np.uint16]]]] = field(
        default_factory=lambda: {name: [] for name in STREAMS}
    )

    def add(self, name: str, packed: PackedMatrix, matrix: Matrix) -> None:
        if packed.palette is None or packed.scales is None:
            raise UsageError(
                f"{name} has {packed.bits} bits", hint="a delta is of 2, 3 and 4 bits in all layers"
            )
        weights = padded_weights(matrix, self.group)
        row_scale, spread = from_bfloat16(packed.row_scale), Spread.of(weights, self.group)
        scales = by_row(packed.scales)
        change = Change(
            bits=packed.bits,
            reach=spread.reach(row_scale, scales),
            offsets=packed.offsets is not None,
        )
        predictor = Predictor(packed.bits, packed.palette)
        expected = predictor.scales(spread, row_scale, change.reach)
        contexts = predictor.scale_contexts(expected)
        self._take("scales", scales.astype(np.uint8) - expected, contexts)
        offsets = None
        if packed.offsets is not None:
            offsets = by_row(packed.offsets)
            expected = predictor.offsets(spread, row_scale, scales)
            contexts = predictor.offset_contexts(expected)
            self._take("offsets", offsets.astype(np.int8).view(np.uint8) - expected, contexts)
        steps, shifts = grid_by_column(row_scale, scales, offsets, self.group)
        codes = unpack_codes(packed.codes, packed.bits)
        nearest, places = predictor.codes(weights, steps, shifts)
        difference = predictor.difference(codes, nearest)
        classes = _classes(difference)
        self._take("codes", difference, predictor.code_contexts(places, classes))
        self.matrices[name] = change
        self.palettes.append(packed.palette)
        self.row_scales.append(packed.row_scale)
        self.classes.append(classes)

    def _take(self, name: str, symbols: Bytes, contexts: NDArray[np.uint16]) -> None:
        self.parts[name].append((symbols.ravel(), contexts.ravel()))

    def stream(self, name: str) -> Stream:
        contexts, width = STREAMS[name]
        counts = np.zeros(contexts * width, np.int64)
        for symbols, places in self.parts[name]:
            at = places.astype(np.int64) * width + symbols
            counts += np.bincount(at, minlength=counts.size)
        odds = odds_of(counts.reshape(contexts, width))
        return Stream(encoded=encode(self.parts[name], odds, lanes=LANES[name]), odds=odds)


def _classes(difference: Bytes) -> Bytes:
    """Of each column: minus two times the logarithm to base 2 of the share that was moved."""
    share = np.count_nonzero(difference, axis=0) / len(difference)
    steps = np.floor(-2 * np.log2(np.maximum(share, 1e-9)))
    found: Bytes = np.clip(steps, 0, COLUMN_CLASSES - 1).astype(np.uint8)
    return found


def _same_shape(packed: PackedMatrix | None, matrix: Matrix) -> PackedMatrix:
    if packed is None or packed.shape != matrix.shape:
        raise other_model()
    return packed


def _require_same_ends(file: PackedFile, config: DecoderConfig, weights: DecoderWeights) -> None:
    ends = Packed(config=config, group=file.group)
    add_ends(ends, weights)
    left = {name for name in file.matrices if not name.startswith("layers.")}
    same = left == ends.matrices.keys() and file.vectors.keys() == ends.vectors.keys()
    if same:
        matrices = ((file.matrices[name], made) for name, made in ends.matrices.items())
        same = all(
            there.bits == PLAIN_BITS
            and np.array_equal(there.codes, made.codes)
            and np.array_equal(there.row_scale, made.row_scale)
            for there, made in matrices
        )
        vectors = ((file.vectors[name], made) for name, made in ends.vectors.items())
        same = same and all(np.array_equal(there, made) for there, made in vectors)
    if not same:
        raise other_model()
