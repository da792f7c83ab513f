"""Packed models of random weights: small, of any shape, with every number of bits."""

from pathlib import Path
from typing import Any

import numpy as np

from inference.architectures import DecoderConfig, LayerShape, Rope
from inference.formats.packed import WEIGHTS, Vector, write_packed
from inference.formats.packed_matrix import (
    PLAIN_BITS,
    PackedMatrix,
    pack_codes,
    padded_columns,
    tiles,
    to_bfloat16,
)

__all__ = ["random_matrix", "tiny_config", "write_tiny_packed"]


def random_matrix(
    random: np.random.Generator,
    rows: int,
    columns: int,
    bits: int,
    group: int,
    *,
    offsets: bool = False,
) -> PackedMatrix:
    """Every byte drawn; weights of about 1 / sqrt(columns)."""
    high, groups = tiles(rows), padded_columns(columns, group) // group
    codes = random.integers(0, 1 << bits, (rows, columns)).astype(np.uint8)
    size = 1 / np.sqrt(columns) / (70 if bits == PLAIN_BITS else 70 * 180)
    row_scale = to_bfloat16((size * random.uniform(0.5, 2, high * 16)).astype(np.float32))
    if bits == PLAIN_BITS:
        codes = np.maximum(codes.view(np.int8), -127).view(np.uint8)
    packed = pack_codes(codes, bits, group)
    if bits == PLAIN_BITS:
        return PackedMatrix(
            shape=(rows, columns), bits=bits, group=group, codes=packed, row_scale=row_scale
        )
    by_group = (high, groups, 16)
    return PackedMatrix(
        shape=(rows, columns),
        bits=bits,
        group=group,
        codes=packed,
        row_scale=row_scale,
        palette=random.integers(-127, 128, 1 << bits).astype(np.int8),
        scales=random.integers(0, 256, by_group).astype(np.uint8),
        offsets=random.integers(-128, 128, by_group).astype(np.int8) if offsets else None,
    )


def tiny_config(**changes: Any) -> DecoderConfig:
    """A Llama of two layers whose sizes are no round numbers; ``changes`` of settings or shape."""
    shape = LayerShape(
        heads=changes.pop("heads", 4),
        kv_heads=changes.pop("kv_heads", 2),
        head_width=changes.pop("head_width", 16),
        ffn_width=changes.pop("ffn_width", 104),
        rope=Rope(theta=10_000.0),
        window=changes.pop("window", None),
    )
    values: dict[str, Any] = {
        "architecture": "llama",
        "vocabulary": 83,
        "width": 72,
        "max_context": 128,
        "norm_epsilon": 1e-5,
        "shapes": (shape, shape),
    }
    return DecoderConfig(**(values | changes))


def write_tiny_packed(
    folder: Path, config: DecoderConfig, *, group: int = 32, bias: bool = False, seed: int = 3
) -> Path:
    """A weight file with 2, 3 and 4 bits in every layer; returns its path."""
    random = np.random.default_rng(seed)

    def factors(count: int) -> Vector:
        return (1 + 0.2 * random.standard_normal(count)).astype(np.float32)

    matrices: dict[str, PackedMatrix] = {}
    vectors: dict[str, Vector] = {"final_norm": factors(config.width)}
    matrices["embedding"] = random_matrix(random, config.vocabulary, config.width, 8, group)
    for layer, shape in enumerate(config.shapes):
        prefix, wide, narrow = f"layers.{layer}.", shape.attention_width, shape.kv_width
        sizes = {
            "q": (wide, config.width, 4),
            "k": (narrow, config.width, 3),
            "v": (narrow, config.width, 4),
            "output": (config.width, wide, 3),
            "gate": (shape.ffn_width, config.width, 2),
            "up": (shape.ffn_width, config.width, 3),
            "down": (config.width, shape.ffn_width, 4),
        }
        for name, (rows, columns, bits) in sizes.items():
            matrices[prefix + name] = random_matrix(
                random, rows, columns, bits, group, offsets=name == "up"
            )
        norms = {"attention_norm": config.width, "ffn_norm": config.width}
        if config.sandwich_norms:
            norms |= {"attention_post_norm": config.width, "ffn_post_norm": config.width}
        if config.qk_norm:
            norms |= {"q_norm": shape.head_width, "k_norm": shape.head_width}
        vectors |= {prefix + name: factors(count) for name, count in norms.items()}
        if bias:
            for name, count in (("q", wide), ("k", narrow), ("v", narrow)):
                vectors[f"{prefix}{name}_bias"] = factors(count) - 1
    folder.mkdir(parents=True, exist_ok=True)
    write_packed(folder / WEIGHTS, config, group, matrices, vectors)
    return folder / WEIGHTS
