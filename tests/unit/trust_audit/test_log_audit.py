"""Replaying a log finds what a device's proofs cannot."""

import pytest

from lanai.errors import LogRejected, Rejection
from trust.audit import LogAudit, audit_log
from trust.bundle import Checkpoint
from trust.keys import KeyRecord
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.witnessed import CheckpointVerifier, SignedCheckpoint

LIFETIME_S = 7 * 86_400
NOW = 1_700_000_000
RELEASE = unsafe_release()
LEAVES = [b"leaf 0", RELEASE.canonical(), b"leaf 2"]


@pytest.fixture
def world() -> UnsafeTrustWorld:
    world = UnsafeTrustWorld(now=NOW)
    for leaf in LEAVES:
        world.append(leaf)
    return world


@pytest.fixture
def signed(world: UnsafeTrustWorld) -> SignedCheckpoint:
    return CheckpointVerifier(world.root).open(world.checkpoint())


def seen_at(world: UnsafeTrustWorld, size: int, root: bytes | None = None) -> Checkpoint:
    return Checkpoint(
        origin=world.origin, size=size, root=world.tree.root(size) if root is None else root
    )


def reason(signed: SignedCheckpoint, leaves: list[bytes], seen: Checkpoint | None) -> Rejection:
    with pytest.raises(LogRejected) as refusal:
        audit_log(signed, leaves, seen=seen, key_max_lifetime_s=LIFETIME_S)
    return refusal.value.reason


def test_a_whole_log(world: UnsafeTrustWorld, signed: SignedCheckpoint) -> None:
    """The leaves lead to the signed root and to every earlier one; releases are found."""
    for seen in (None, *(seen_at(world, size) for size in range(4))):
        audited = audit_log(signed, LEAVES, seen=seen, key_max_lifetime_s=LIFETIME_S)
        assert (audited.checkpoint.size, audited.unreadable) == (3, 2)
        assert audited.releases == {1: RELEASE}


def test_leaves_that_are_not_the_signed_ones(signed: SignedCheckpoint) -> None:
    """A changed, missing or reordered leaf does not lead to the signed root."""
    assert reason(signed, [b"other", *LEAVES[1:]], None) is Rejection.INCLUSION
    assert reason(signed, LEAVES[::-1], None) is Rejection.INCLUSION
    assert reason(signed, LEAVES[:2], None) is Rejection.TRUNCATED


def test_no_more_is_read_than_was_signed(signed: SignedCheckpoint) -> None:
    """A log that never stops sending is not read for ever."""

    def endless() -> object:
        yield from LEAVES
        raise AssertionError("read past the signed size")

    audited = audit_log(signed, endless(), seen=None, key_max_lifetime_s=LIFETIME_S)  # type: ignore[arg-type]
    assert audited.checkpoint.size == 3


def test_what_the_device_saw_is_still_there(
    world: UnsafeTrustWorld, signed: SignedCheckpoint
) -> None:
    """A rewritten, shrunk or exchanged log contradicts the stored checkpoint."""
    rewritten = seen_at(world, 2, root=bytes(32))
    assert reason(signed, LEAVES, rewritten) is Rejection.SPLIT_VIEW
    larger = seen_at(world, 4, root=bytes(32))
    assert reason(signed, LEAVES, larger) is Rejection.ROLLBACK
    foreign = Checkpoint(origin="other", size=3, root=world.tree.root())
    assert reason(signed, LEAVES, foreign) is Rejection.UNKNOWN_KEY


def keys(*windows: tuple[int, int]) -> list[bytes]:
    """Leaves of gateway keys with these windows."""
    return [
        KeyRecord(
            purpose="gateway", key=bytes([i]) * 1216, not_before=NOW + a, expires_at=NOW + b
        ).canonical()
        for i, (a, b) in enumerate(windows)
    ]


def audited(leaves: list[bytes]) -> LogAudit:
    world = UnsafeTrustWorld(now=NOW)
    for leaf in leaves:
        world.append(leaf)
    signed = CheckpointVerifier(world.root).open(world.checkpoint())
    return audit_log(signed, leaves, seen=None, key_max_lifetime_s=LIFETIME_S)


def test_rotated_keys_are_found() -> None:
    """Keys that overlap as a rotation does are listed by their index."""
    audit = audited([b"x", *keys((0, 100), (50, 150), (100, 200))])
    assert list(audit.keys) == [1, 2, 3]
    assert (len(audit.keys_of("gateway")), audit.keys_of("issuer")) == (3, [])
    assert audit.unreadable == 1


def test_a_special_key_is_flagged() -> None:
    """A third key at one moment is what singling somebody out would need: refused."""
    with pytest.raises(LogRejected) as refusal:
        audited(keys((0, 100), (50, 150), (99, 101)))
    assert refusal.value.reason is Rejection.KEY_OVERLAP


def test_a_key_that_lives_too_long_is_flagged() -> None:
    """A log with a key that no device would take is not in order."""
    with pytest.raises(LogRejected) as refusal:
        audited(keys((0, LIFETIME_S + 1)))
    assert refusal.value.reason is Rejection.LIFETIME
