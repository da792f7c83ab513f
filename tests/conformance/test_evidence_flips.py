"""Captured evidence with one bit changed, for every kind that can be judged.

Here a few hundred bits of each sample, always the same; every bit with
``python -m bench.evidence_flips --exhaustive``.
"""

from pathlib import Path

import pytest

from bench.evidence_flips import CHOSEN, KINDS, load
from bench.flips.sample import chosen_bits, flip


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_flipped_bit_is_refused(kind: str, data_folder: Path) -> None:
    """Each sample is accepted as it is, and refused with any drawn bit changed."""
    for sample in load(kind, data_folder):
        result = flip(sample, chosen_bits(sample, CHOSEN))
        assert (result.accepted, result.escaped) == ((), ()), sample.name
        assert result.refused == result.bits >= CHOSEN
