"""Choosing numbers: what is chosen can be written, keeps to the budget and beats plain rounding."""

import numpy as np
import pytest
import torch

from inference.packing.allocation import Option, allocate
from inference.packing.assembly import packed_matrix
from inference.packing.quantizer import Way, quantize, quantize_rows
from lanai.errors import UsageError


def correlated(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix, and inputs whose columns go together: (rows, columns), (n, columns)."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=random) / columns**0.5
    mixture = torch.randn(columns, columns, generator=random)
    return weight, torch.randn(600, columns // 4, generator=random) @ mixture[: columns // 4]


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("offsets", [False, True])
def test_the_file_stands_for_what_the_quantizer_chose(bits: int, offsets: bool) -> None:
    """The packed matrix's weights are those the quantizer judged, whatever the shape."""
    weight, inputs = correlated(21, 72)
    way = Way(bits=bits, group=32, offsets=offsets)
    chosen = quantize(weight, inputs.T @ inputs / len(inputs), way)
    packed = packed_matrix(chosen, way)
    np.testing.assert_allclose(packed.dense_rows(0, 21), chosen.dense(32).numpy(), rtol=1e-6)
    assert (packed.offsets is not None) == offsets


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_rounding_that_makes_up_for_itself_is_better(bits: int) -> None:
    """On inputs that go together the outputs are nearer than with inputs taken apart."""
    weight, inputs = correlated(64, 128)
    moments = inputs.T @ inputs / len(inputs)
    way = Way(bits=bits, group=64)

    def error(chosen: torch.Tensor) -> float:
        return float(((chosen - weight) @ inputs.T).square().mean())

    together = error(quantize(weight, moments, way).dense(64))
    apart = error(quantize(weight, torch.diag(moments.diagonal()), way).dense(64))
    assert together < 0.6 * apart


def test_offsets_help_weights_that_lie_aside() -> None:
    """Groups that are not about zero keep more of themselves with offsets."""
    random = torch.Generator().manual_seed(1)
    # Every second row lies above zero, the others below: no palette of the whole matrix fits both.
    sign = (torch.arange(32) % 2 * 2.0 - 1)[:, None]
    weight = torch.randn(32, 64, generator=random) + 1.5 * sign
    errors = [
        float((quantize(weight, torch.eye(64), way).dense(32) - weight).square().mean())
        for way in (Way(bits=3, group=32), Way(bits=3, group=32, offsets=True))
    ]
    assert errors[1] < 0.8 * errors[0]


def test_a_matrix_of_zeroes_and_columns_never_used() -> None:
    """Nothing to scale by and nothing to weigh by: finite numbers all the same."""
    for weight in (torch.zeros(16, 32), torch.ones(16, 32)):
        chosen = quantize(weight, torch.zeros(32, 32), Way(bits=3, group=32))
        assert torch.isfinite(chosen.dense(32)).all()
    assert (
        not quantize(torch.zeros(16, 32), torch.zeros(32, 32), Way(bits=3, group=32))
        .dense(32)
        .abs()
        .max()
        .gt(1e-20)
    )


def test_rows_in_eight_bits_are_within_half_a_step() -> None:
    """Each row's largest weight sets its step."""
    weight = torch.randn(20, 50, generator=torch.Generator().manual_seed(2))
    values, step = quantize_rows(weight)
    error = (values.float() * step[:, None] - weight).abs()
    # The step is rounded to bfloat16 first: the largest weight may be half a per cent beyond it.
    assert (error <= step[:, None] * 0.5 + weight.abs().amax(1, keepdim=True) * 0.005).all()


def options(costs: dict[str, list[float]], sizes: tuple[float, ...]) -> dict[str, list[Option]]:
    return {
        name: [
            Option(way=Way(bits=bits, group=32), size=size, cost=cost)
            for bits, size, cost in zip((2, 3, 4), sizes, of, strict=True)
        ]
        for name, of in costs.items()
    }


def test_the_allocation_spends_where_it_saves_most() -> None:
    """Under the budget; the matrix that errors cost most gets its bits first."""
    choices = options({"dear": [90, 30, 10], "cheap": [9, 3, 1]}, (20, 30, 40))
    assert {n: w.bits for n, w in allocate(choices, 60).items()} == {"dear": 4, "cheap": 2}
    assert {n: w.bits for n, w in allocate(choices, 80).items()} == {"dear": 4, "cheap": 4}
    assert {n: w.bits for n, w in allocate(choices, 40).items()} == {"dear": 2, "cheap": 2}


def test_a_budget_below_the_smallest_is_refused() -> None:
    """``UsageError``."""
    with pytest.raises(UsageError):
        allocate(options({"a": [3, 2, 1]}, (20, 30, 40)), 19)
