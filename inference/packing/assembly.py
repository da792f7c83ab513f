"""What goes into a packed file, however its codes were chosen: matrices, embeddings, vectors."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.architectures import DecoderConfig, DecoderWeights
from inference.formats.packed import Vector
from inference.formats.packed_matrix import (
    PLAIN_BITS,
    PackedMatrix,
    by_tile,
    pack_codes,
    tiles,
    to_bfloat16,
)
from inference.matrix import Matrix, row_slices
from inference.packing.quantizer import Quantized, Way, quantize_rows

__all__ = ["Packed", "add_ends", "packed_matrix", "plain_matrix", "qkv_biases"]


@dataclass(slots=True, kw_only=True)
class Packed:
    """What goes into the file."""

    config: DecoderConfig
    group: int
    matrices: dict[str, PackedMatrix] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)


def packed_matrix(quantized: Quantized, way: Way) -> PackedMatrix:
    rows, columns = quantized.codes.shape
    grid = quantized.grid
    return PackedMatrix(
        shape=(rows, columns),
        bits=way.bits,
        group=way.group,
        codes=pack_codes(quantized.codes.numpy(), way.bits, way.group),
        row_scale=_row_scale(grid.row_scale),
        palette=quantized.palette.numpy(),
        scales=by_tile(grid.scales.numpy()),
        offsets=None if grid.offsets is None else by_tile(grid.offsets.numpy()),
    )


def plain_matrix(matrix: Matrix, group: int) -> PackedMatrix:
    """8 bits with one scale a row. A vocabulary is never whole in float32."""
    codes = np.empty(matrix.shape, np.uint8)
    scale = torch.empty(matrix.shape[0])
    for first, last in row_slices(matrix.shape):
        values, scale[first:last] = quantize_rows(matrix.dense_rows(first, last))
        codes[first:last] = values.numpy().view(np.uint8)
    return PackedMatrix(
        shape=matrix.shape,
        bits=PLAIN_BITS,
        group=group,
        codes=pack_codes(codes, PLAIN_BITS, group),
        row_scale=_row_scale(scale),
    )


def add_ends(packed: Packed, weights: DecoderWeights) -> None:
    """Embeddings (and a head of its own) in 8 bits, norms and biases as they are."""
    config = packed.config
    for name in ("embedding", "head"):
        if weights.has(name):
            table = weights.matrix(name, (config.vocabulary, config.width))
            packed.matrices[name] = plain_matrix(table, packed.group)
    vectors = {"final_norm": weights.norm("final_norm", config.width)}
    if weights.has("rope_factors"):
        half = config.shapes[0].head_width // 2
        vectors["rope_factors"] = weights.vector("rope_factors", half)
    for index in range(config.layers):
        vectors |= _layer_vectors(config, weights, index)
    packed.vectors |= {name: values.float().numpy() for name, values in vectors.items()}


def qkv_biases(config: DecoderConfig, weights: DecoderWeights, index: int) -> Tensor | None:
    """Of query, key and value rows in this order; ``None`` where the family has none."""
    return weights.qkv_parts(config.width, config.shapes[index], index)[1]


def _layer_vectors(config: DecoderConfig, weights: DecoderWeights, index: int) -> dict[str, Tensor]:
    shape = config.shapes[index]
    sizes = {"attention_norm": config.width, "ffn_norm": config.width}
    if config.sandwich_norms:
        sizes |= {"attention_post_norm": config.width, "ffn_post_norm": config.width}
    if config.qk_norm:
        sizes |= {"q_norm": shape.head_width, "k_norm": shape.head_width}
    vectors = {name: weights.norm(name, size, index) for name, size in sizes.items()}
    if (bias := qkv_biases(config, weights, index)) is not None:
        cuts = [shape.attention_width, shape.kv_width, shape.kv_width]
        parts = torch.split(bias, cuts)
        vectors |= dict(zip(("q_bias", "k_bias", "v_bias"), parts, strict=True))
    return {f"layers.{index}.{name}": values for name, values in vectors.items()}


def _row_scale(scale: Tensor) -> NDArray[np.uint16]:
    whole = np.zeros(tiles(len(scale)) * 16, np.float32)
    whole[: len(scale)] = scale.numpy()
    return to_bfloat16(whole)
