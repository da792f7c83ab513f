"""Weights in few bits: exact where the file's grid is kept, close where it is rounded."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

from inference.formats import sources
from inference.linear import Int4Linear, Int8Linear, build_linear
from inference.matrix import GridMatrix, PlainMatrix, stack_rows


def random_rows(rows: int, columns: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, (rows, columns)).astype(np.float32)


def grid_of(blocks: np.ndarray, type_: Type, shape: tuple[int, int]) -> GridMatrix:
    codes, scale, minimum = sources._GRIDS[type_](blocks)
    groups = (shape[0], shape[1] // 32)
    return GridMatrix(
        codes=torch.from_numpy(codes.reshape(shape)),
        scale=torch.from_numpy(scale.reshape(groups)),
        minimum=torch.from_numpy(minimum.reshape(groups)),
    )


def q4_k_blocks(rows: int, columns: int) -> np.ndarray:
    """Random but sound blocks; the package can read this type and not write it."""
    random = np.random.default_rng(3)
    blocks = random.integers(0, 256, (rows * columns // 256, 144), dtype=np.uint8)
    scales = random.uniform(0.0001, 0.01, (len(blocks), 2)).astype(np.float16)
    blocks[:, :4] = scales.view(np.uint8)
    return blocks.reshape(rows, -1)


@pytest.mark.parametrize("type_", [Type.Q4_0, Type.Q4_1, Type.Q4_K])
def test_grids_are_exact(type_: Type) -> None:
    """The grid taken from a 4-bit block type is, weight by weight, what the package dequantizes."""
    shape = (16, 512)
    blocks = q4_k_blocks(*shape) if type_ == Type.Q4_K else quantize(random_rows(*shape), type_)
    grid = grid_of(blocks, type_, shape)
    np.testing.assert_allclose(
        grid.dense().numpy(), dequantize(blocks, type_), rtol=1e-6, atol=1e-8
    )


def test_q8_0_is_exact() -> None:
    """Our reading of 8-bit blocks equals the package's."""
    blocks = quantize(random_rows(8, 96), Type.Q8_0)
    np.testing.assert_array_equal(
        sources._dense_q8_0(blocks).numpy(), dequantize(blocks, Type.Q8_0)
    )


@pytest.mark.parametrize("form", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize("bias", [False, True])
def test_few_and_many_rows_agree(form: str, bias: bool) -> None:
    """A form computes the same product by its low-bit kernel and by its bfloat16 copy."""
    shape = (64, 96)
    blocks = quantize(random_rows(*shape), Type.Q4_1)
    matrix = grid_of(blocks, Type.Q4_1, shape)
    added = torch.randn(64) if bias else None
    linear = build_linear(matrix, form, bias=added)  # type: ignore[arg-type]
    x = torch.randn(24, 96).bfloat16()
    exact = x.float() @ matrix.dense().T + (0 if added is None else added)
    for y in (linear(x), torch.cat([linear(row[None]) for row in x])):
        assert (y.float() - exact).abs().max() < 0.02 * exact.abs().max()


def test_int8_without_a_copy_computes_the_same() -> None:
    """A vocabulary kept in 8 bits alone gives prompts the product the copy would give."""
    matrix = PlainMatrix.of(torch.randn(80, 64))
    x = torch.randn(32, 64).bfloat16()
    copied, sliced = (Int8Linear.of(matrix, keep_dense=keep) for keep in (True, False))
    torch.testing.assert_close(copied(x), sliced(x), rtol=1.6e-2, atol=1e-2)


def test_rounding_to_four_bits_stays_within_half_a_step() -> None:
    """A matrix that is on no grid is rounded to the nearest of 16 points of its group."""
    values = torch.from_numpy(random_rows(32, 64))
    linear = Int4Linear.of(PlainMatrix.of(values), keep_dense=True)
    rounded = linear(torch.eye(64).bfloat16()).T.float()
    groups = values.view(32, -1, 32)
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    error = (rounded - values).view(32, -1, 32).abs().amax(-1)
    assert (error <= 0.6 * step + 0.002).all()


def test_stacking_keeps_a_grid_only_of_grids() -> None:
    """Query, key and value of one kind stay exact; mixed kinds become plain numbers."""
    shape = (16, 64)
    grid = grid_of(quantize(random_rows(*shape), Type.Q4_1), Type.Q4_1, shape)
    plain = PlainMatrix.of(torch.ones(2, 64))
    assert isinstance(stack_rows([grid, grid]), GridMatrix)
    mixed = stack_rows([grid, plain])
    assert isinstance(mixed, PlainMatrix)
    torch.testing.assert_close(mixed.dense()[:16], grid.dense())
    assert mixed.shape == (18, 64)
