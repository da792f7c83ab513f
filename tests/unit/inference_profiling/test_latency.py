"""Timing products: in turns, by shape and way, the call itself taken off."""

import pytest

from inference.kernels import load_kernels
from inference.packing.quantizer import Way
from inference.profiling.latency import latencies, ways_with_plain

SHAPES = [(48, 64), (20, 96)]
KEYS = [(shape, way) for shape in SHAPES for way in ways_with_plain(32)]


@pytest.mark.parametrize("compiled", [True, False])
def test_every_key_gets_a_median(compiled: bool) -> None:
    """With the kernels and without; a clock that counts calls gives every product one tick."""
    now = iter(range(1_000_000))
    ticks: list[tuple[int, int]] = []
    found = latencies(
        KEYS,
        load_kernels() if compiled else None,
        threads=1,
        rounds=2,
        tick=lambda done, total: ticks.append((done, total)),
        clock=lambda: float(next(now)),
    )
    assert found.keys() == set(KEYS)
    assert set(found.values()) == {0.0}  # each tick is one, and so is the empty call's
    assert ticks == [(1, 2), (2, 2)]


def test_the_ways_are_the_packers_and_eight_bits() -> None:
    """2, 3, 4, 4 with offsets, 8."""
    assert ways_with_plain(64)[0] == Way(bits=2, group=64)
    assert [(way.bits, way.offsets) for way in ways_with_plain(64)] == [
        (2, False),
        (3, False),
        (4, False),
        (4, True),
        (8, False),
    ]
