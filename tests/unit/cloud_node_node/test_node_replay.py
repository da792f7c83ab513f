"""The node's own replay set: new once, until expiry, within its bounds."""

from cloud_node.tree.replay import ReplaySet


def test_an_id_is_new_once() -> None:
    """The second time it is not admitted."""
    seen = ReplaySet()
    assert seen.admit(b"a" * 16, expires_at=100, now=1)
    assert not seen.admit(b"a" * 16, expires_at=100, now=99)
    assert seen.admit(b"b" * 16, expires_at=100, now=99)


def test_an_id_is_forgotten_when_its_envelope_cannot_come_back() -> None:
    """From the expiry on the envelope itself is refused, so memory may go."""
    seen = ReplaySet()
    for number in range(50):
        assert seen.admit(number.to_bytes(16, "big"), expires_at=100 + number, now=1)
    assert not seen.admit((49).to_bytes(16, "big"), expires_at=149, now=148)
    assert len(seen) == 1


def test_a_full_set_forgets_nothing_early() -> None:
    """At its capacity the set admits no new id, and still knows the old ones."""
    seen = ReplaySet(capacity=2)
    assert seen.admit(b"a" * 16, expires_at=100, now=1)
    assert seen.admit(b"b" * 16, expires_at=100, now=1)
    assert not seen.admit(b"c" * 16, expires_at=100, now=1)
    assert seen.full
    assert not seen.admit(b"a" * 16, expires_at=100, now=1)
    assert seen.admit(b"c" * 16, expires_at=300, now=200)
