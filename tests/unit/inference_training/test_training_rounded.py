"""Matrices that learn through their rounding: what they stand for, and their slopes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.formats.packed_matrix import PackedMatrix
from inference.testing.random_packed import random_matrix
from inference.training.rounded import RoundedMatrix

ROWS, COLUMNS = 21, 72


def matrix(bits: int, *, offsets: bool = False) -> PackedMatrix:
    """With scales and offsets as the packer writes them: never 0, never -128."""
    random = np.random.default_rng(bits)
    drawn = random_matrix(random, ROWS, COLUMNS, bits, 32, offsets=offsets)
    assert drawn.scales is not None
    shifts = None if drawn.offsets is None else np.maximum(drawn.offsets, -127)
    return replace(drawn, scales=np.maximum(drawn.scales, 1), offsets=shifts)


def learning(bits: int, *, offsets: bool = False) -> RoundedMatrix:
    """With weights near those of the packed matrix, so that most codes are the nearest."""
    packed = matrix(bits, offsets=offsets)
    noise = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1)) * 1e-3
    return RoundedMatrix.of(packed, torch.from_numpy(packed.dense_rows(0, ROWS)) + noise)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("offsets", [False, True])
def test_it_begins_where_the_packer_ended(bits: int, offsets: bool) -> None:
    """Whatever the source's weights are, the weights it stands for are the packed ones."""
    packed = matrix(bits, offsets=offsets)
    found = RoundedMatrix.of(packed, torch.randn(ROWS, COLUMNS)).dense().detach()
    there = torch.from_numpy(packed.dense_rows(0, ROWS))
    torch.testing.assert_close(found, there, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("offsets", [False, True])
def test_what_is_written_is_what_was_trained(bits: int, offsets: bool) -> None:
    """After steps that move every number, the file's matrix is the dense one, of the same size."""
    learnt = learning(bits, offsets=offsets)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for number in [learnt.shadow, *learnt.numbers()]:
            number.add_(torch.randn(number.shape, generator=random) * number.std() * 0.2)
    dense = learnt.dense().detach()
    written = learnt.written()
    np.testing.assert_allclose(written.dense_rows(0, ROWS), dense.numpy(), rtol=1e-5, atol=1e-9)
    assert written.bytes == learnt.packed.bytes


def test_shadow_weights_have_the_slope_of_what_they_round_to() -> None:
    """Among the levels the slope passes straight through; outside of them there is none."""
    learnt = learning(3)
    with torch.no_grad():
        learnt.shadow[0, 0, :4] = 1e3
    slope = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(3))
    learnt.dense().backward(slope)
    got = learnt.shadow.grad.flatten(1)[:, :COLUMNS]
    assert (got[0, :4] == 0).all()
    torch.testing.assert_close(got[1:], slope[1:])


@pytest.mark.parametrize("offsets", [False, True])
def test_with_codes_held_slopes_are_differences(offsets: bool) -> None:
    """Scales and offsets: a step of one in the file's units changes a linear loss by
    exactly the slope, for the loss is linear in each of them alone."""
    learnt = learning(4, offsets=offsets)
    learnt.hold_codes()
    slope = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(4))
    (learnt.dense() * slope).sum().backward()
    for number in learnt.numbers():
        at = tuple(size // 2 for size in number.shape)
        with torch.no_grad():
            number[at] = number[at].round().clamp(2, 100)
            before = float((learnt.dense() * slope).double().sum())
            number[at] += 1
            after = float((learnt.dense() * slope).double().sum())
            number[at] -= 1
        again = torch.autograd.grad((learnt.dense() * slope).sum(), number)[0]
        assert after - before == pytest.approx(float(again[at]), rel=1e-3, abs=1e-6)


def test_a_scale_follows_its_codes() -> None:
    """Where codes follow a scale's growth only rounding is left: the slope is far below that of
    held codes for a loss that looks at the sum."""
    free, held = learning(4), learning(4)
    held.hold_codes()
    slopes = []
    for learnt in (free, held):
        (learnt.dense() * learnt.dense().detach()).sum().backward()
        slopes.append(float(learnt.scales.grad.norm()))
    assert slopes[0] < 0.1 * slopes[1]
