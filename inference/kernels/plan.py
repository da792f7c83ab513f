"""From a packed file to the structures the kernels run by. Weights stay where the file lies."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.architectures import DecoderConfig, LayerShape, Rope
from inference.formats.packed import PackedFile
from inference.formats.packed_matrix import PackedMatrix
from inference.kernels import structures
from inference.kernels.binding import Kernels
from inference.rotation import rotation
from lanai.errors import ModelFormatError

__all__ = ["PlanBuilder", "runs_compiled"]

MAX_ROWS: Final = 256
MAX_HEAD_WIDTH: Final = 1024  # of a buffer in forward.h
_ACTIVATIONS: Final = ("silu", "gelu_tanh")


def runs_compiled(config: DecoderConfig) -> bool:
    """Whether the kernels run such a model: one with heads in whole vectors."""
    widths = {shape.head_width for shape in config.shapes}
    return all(width % 16 == 0 and width <= MAX_HEAD_WIDTH for width in widths)


class PlanBuilder:
    """Builds ``plan`` and keeps alive what it points to."""

    def __init__(self, file: PackedFile, kernels: Kernels, *, positions: int) -> None:
        self._file = file
        self._kernels = kernels
        self._positions = positions
        self._kept: list[Any] = []
        self._rotations: dict[tuple[Rope, int], tuple[int, int]] = {}
        self.plan = self._build()

    def _build(self) -> structures.Plan:
        config = self._file.config
        size = (config.vocabulary, config.width)
        embedding = self._matrix("embedding", size, plain=True)
        layers = (structures.Layer * config.layers)()
        for index, shape in enumerate(config.shapes):
            self._layer(layers[index], index, shape)
        self._kept.append(layers)
        return structures.Plan(
            abi=structures.ABI,
            isa=self._kernels.isa_number,
            layers=config.layers,
            width=config.width,
            vocabulary=config.vocabulary,
            group=self._file.group,
            max_rows=min(MAX_ROWS, self._positions),
            activation=_ACTIVATIONS.index(config.activation),
            positions=self._positions,
            epsilon=config.norm_epsilon,
            embedding_scale=config.embedding_scale,
            layer=layers,
            embedding=embedding,
            head=self._matrix("head", size) if "head" in self._file.matrices else embedding,
            final_norm=self._vector("final_norm", config.width),
        )

    def _layer(self, layer: structures.Layer, index: int, shape: LayerShape) -> None:
        config, prefix = self._file.config, f"layers.{index}."
        wide, narrow = shape.attention_width, shape.kv_width
        sizes = {
            "q": (wide, config.width),
            "k": (narrow, config.width),
            "v": (narrow, config.width),
            "output": (config.width, wide),
            "gate": (shape.ffn_width, config.width),
            "up": (shape.ffn_width, config.width),
            "down": (config.width, shape.ffn_width),
        }
        for part, size in sizes.items():
            setattr(layer, part, self._matrix(prefix + part, size))
        vectors = {"attention_norm": config.width, "ffn_norm": config.width}
        if config.sandwich_norms:
            vectors |= {"attention_post_norm": config.width, "ffn_post_norm": config.width}
        if config.qk_norm:
            vectors |= {"q_norm": shape.head_width, "k_norm": shape.head_width}
        if f"{prefix}q_bias" in self._file.vectors:
            vectors |= {"q_bias": wide, "k_bias": narrow, "v_bias": narrow}
        for part, count in vectors.items():
            setattr(layer, part, self._vector(prefix + part, count))
        layer.cosine, layer.sine = self._rotation(shape)
        layer.heads, layer.kv_heads = shape.heads, shape.kv_heads
        layer.head_width, layer.ffn_width = shape.head_width, shape.ffn_width
        layer.window = shape.window or 0
        layer.score_scale = config.query_scale or shape.head_width**-0.5

    def _matrix(
        self, name: str, shape: tuple[int, int], *, plain: bool = False
    ) -> structures.Matrix:
        matrix = self._file.matrices.get(name)
        if matrix is None or matrix.shape != shape or (plain and matrix.palette is not None):
            raise ModelFormatError(
                f"{self._file.path} lacks a proper matrix {name!r}",
                hint="the file is damaged: pack or pull it again",
            )
        return structures.Matrix(
            codes=self._address(matrix.codes),
            tables=self._tables(matrix),
            scales=self._address(matrix.scales),
            offsets=self._address(matrix.offsets),
            row_scale=self._address(matrix.row_scale),
            rows=shape[0],
            columns=shape[1],
            bits=matrix.bits,
        )

    def _tables(self, matrix: PackedMatrix) -> int | None:
        if matrix.palette is None:
            return None
        return self._address(self._kernels.tables(matrix.bits, matrix.palette))

    def _vector(self, name: str, size: int) -> int | None:
        vector = self._file.vectors.get(name)
        if vector is None or vector.shape != (size,):
            raise ModelFormatError(
                f"{self._file.path} lacks a proper vector {name!r}",
                hint="the file is damaged: pack or pull it again",
            )
        return self._address(vector)

    def _rotation(self, shape: LayerShape) -> tuple[int, int]:
        key = (shape.rope, shape.head_width)
        if key not in self._rotations:
            factors = self._file.vectors.get("rope_factors")
            cosine, sine = rotation(*key, self._positions, factors=factors)
            self._rotations[key] = (self._held(cosine), self._held(sine))
        return self._rotations[key]

    def _address(self, array: NDArray[Any] | None) -> int | None:
        return None if array is None else self._held(array)

    def _held(self, array: NDArray[Any]) -> int:
        # A header of another length may leave numbers where they are not to be read from.
        array = np.require(array, requirements=("C", "ALIGNED"))
        self._kept.append(array)
        return int(array.ctypes.data)
