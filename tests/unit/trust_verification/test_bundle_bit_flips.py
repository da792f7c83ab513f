"""No bit of a node's bundle is free to change."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import TrustError
from trust.bundle import NodeBundle
from trust.testing import UnsafeTrustWorld
from trust.verification import NodeVerifier, VerifiedNode

NOW = 1_700_000_000


def made(quorum: int) -> tuple[bytes, NodeVerifier]:
    world = UnsafeTrustWorld(now=NOW, quorum=quorum)
    for number in range(300):
        world.append(b"leaf %d" % number)
    return world.bundle(b"k" * 1216).serialize(), world.verifier()


STRICT, STRICT_VERIFIER = made(quorum=3)
SPARE, SPARE_VERIFIER = made(quorum=2)


def outcome(verifier: NodeVerifier, data: bytes, bit: int) -> VerifiedNode | None:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        return verifier.verify(NodeBundle.parse(bytes(damaged)))
    except TrustError:
        return None


def test_one_bit_of_every_byte() -> None:
    """Where all witnesses count, a flipped bit in any byte of the bundle refuses it."""
    STRICT_VERIFIER.verify(NodeBundle.parse(STRICT))
    for place in range(len(STRICT)):
        assert outcome(STRICT_VERIFIER, STRICT, place * 8 + place % 8) is None, place


@settings(deadline=None, max_examples=500)
@given(st.integers(0, len(STRICT) * 8 - 1))
def test_any_bit(bit: int) -> None:
    """Where all witnesses count, any flipped bit refuses the bundle."""
    assert outcome(STRICT_VERIFIER, STRICT, bit) is None


@settings(deadline=None, max_examples=500)
@given(st.integers(0, len(SPARE) * 8 - 1))
def test_a_spare_witness_is_the_only_slack(bit: int) -> None:
    """With a witness to spare, a flip may lose its line and changes nothing that is verified."""
    node = outcome(SPARE_VERIFIER, SPARE, bit)
    if node is None:
        return
    whole = SPARE_VERIFIER.verify(NodeBundle.parse(SPARE))
    differing = [f.name for f in fields(whole) if getattr(node, f.name) != getattr(whole, f.name)]
    assert differing == ["checkpoint_note"]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(STRICT)), st.binary(max_size=8))
def test_cut_or_extended(place: int, tail: bytes) -> None:
    """A bundle cut anywhere, or followed by anything, is refused."""
    for data in (STRICT[:place] + tail, STRICT + tail):
        if data != STRICT:
            with pytest.raises(TrustError):
                STRICT_VERIFIER.verify(NodeBundle.parse(data))
