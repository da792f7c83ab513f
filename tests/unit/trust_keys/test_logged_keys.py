"""Keys of issuer and gateway: public, short-lived, the same for everybody, or refused."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest

from lanai.errors import LogRejected, Rejection, TrustError
from trust.key_windows import MOST_VALID, most_at_once, next_window
from trust.keys import KeyRecord, LoggedKey, ProvedKey, VerifiedKey
from trust.log.checkpoint import Checkpoint
from trust.testing import UnsafeTrustWorld
from trust.tokens import TokenIssuer

NOW = 1_800_000_000
HOUR = 3600
GATEWAY_KEY = b"g" * 1216


@pytest.fixture(scope="module")
def spki() -> bytes:
    return TokenIssuer.generate().spki


@pytest.fixture
def world() -> UnsafeTrustWorld:
    world = UnsafeTrustWorld(now=NOW)
    world.append(b"an older leaf")
    return world


def gateway(begin: int = NOW - HOUR, end: int = NOW + HOUR, key: bytes = GATEWAY_KEY) -> KeyRecord:
    return KeyRecord(purpose="gateway", key=key, not_before=begin, expires_at=end)


def reason(call: Callable[[], object]) -> Rejection:
    with pytest.raises(TrustError) as refusal:
        call()
    return refusal.value.reason


def seen(world: UnsafeTrustWorld, size: int) -> Checkpoint:
    return Checkpoint(origin=world.origin, size=size, root=world.tree.root(size))


def test_a_logged_key_verifies(world: UnsafeTrustWorld, spki: bytes) -> None:
    """A public, current key verifies for its purpose and comes back byte for byte."""
    issuer = KeyRecord(purpose="issuer", key=spki, not_before=NOW, expires_at=NOW + HOUR)
    for record in (issuer, gateway()):
        logged = LoggedKey.from_proto(world.logged(record).to_proto())
        verified = world.key_verifier().verify(logged, purpose=record.purpose)
        assert (verified.key, verified.key_id) == (record.key, record.key_id)
        assert (verified.expires_at, verified.checkpoint.size) == (
            record.expires_at,
            world.tree.size,
        )


def test_records_have_one_form(spki: bytes) -> None:
    """A record parses back to itself; any other bytes, purpose, key or window are refused."""
    record = KeyRecord(purpose="issuer", key=spki, not_before=NOW, expires_at=NOW + 1)
    data = record.canonical()
    assert KeyRecord.parse(data) == record
    assert reason(lambda: KeyRecord.parse(data + b" ")) is Rejection.MALFORMED
    assert reason(lambda: KeyRecord.parse(b" " * 5000)) is Rejection.TOO_LARGE
    assert reason(lambda: KeyRecord.parse(data.replace(b"issuer", b"node"))) is Rejection.MALFORMED
    assert reason(lambda: KeyRecord.parse(data.replace(b"key/1", b"key/2"))) is Rejection.MALFORMED
    assert reason(lambda: replace(record, key=b"short")) is Rejection.MALFORMED
    assert reason(lambda: replace(record, purpose="gateway")) is Rejection.MALFORMED
    assert reason(lambda: replace(record, expires_at=NOW)) is Rejection.MALFORMED
    assert reason(lambda: replace(record, not_before=0)) is Rejection.MALFORMED


def test_keys_out_of_their_window_are_refused(world: UnsafeTrustWorld) -> None:
    """Expired, not yet valid, too long a life, and another purpose each have their reason."""
    verifier = world.key_verifier()

    def refusal(record: KeyRecord) -> Rejection:
        return reason(lambda: verifier.verify(world.logged(record), purpose="gateway"))

    assert refusal(gateway(end=NOW)) is Rejection.EXPIRED
    assert refusal(gateway(begin=NOW + 61)) is Rejection.NOT_YET_VALID
    longest = world.root.key_max_lifetime_s
    assert refusal(gateway(NOW - 1, NOW + longest)) is Rejection.LIFETIME
    good = world.logged(gateway(NOW, NOW + longest))
    assert reason(lambda: verifier.verify(good, purpose="issuer")) is Rejection.KIND_NOT_ACCEPTED
    verifier.verify(good, purpose="gateway")


def test_a_key_that_is_not_in_the_log_is_refused(world: UnsafeTrustWorld) -> None:
    """The proof of one key proves no other: a special key for one user shows."""
    proof = world.logged(gateway()).proof
    special = LoggedKey(record=gateway(key=b"s" * 1216), proof=proof)
    verifier = world.key_verifier()
    assert reason(lambda: verifier.verify(special, purpose="gateway")) is Rejection.INCLUSION


def test_missing_quorum_is_refused(world: UnsafeTrustWorld) -> None:
    """One cosignature of three is not the two the root demands."""
    world.append(gateway().canonical())
    logged = world.logged(gateway(), checkpoint=world.checkpoint(cosigners=[1]))
    verifier = world.key_verifier()
    assert reason(lambda: verifier.verify(logged, purpose="gateway")) is Rejection.WITNESS_QUORUM


def test_a_stale_checkpoint_is_refused(world: UnsafeTrustWorld) -> None:
    """Cosignatures older than the root allows prove nothing about now."""
    logged, verifier = world.logged(gateway(NOW, NOW + 48 * HOUR)), world.key_verifier()
    world.now += world.root.checkpoint_max_age_s
    verifier.verify(logged, purpose="gateway")
    world.now += 1
    assert reason(lambda: verifier.verify(logged, purpose="gateway")) is Rejection.STALE_CHECKPOINT


def test_a_split_view_is_refused(world: UnsafeTrustWorld) -> None:
    """Two roots for one size, cosigned or not, are never both believed."""
    logged, verifier = world.logged(gateway()), world.key_verifier()
    other = replace(seen(world, 2), root=bytes(32))
    assert (
        reason(lambda: verifier.verify(logged, purpose="gateway", seen=other))
        is Rejection.SPLIT_VIEW
    )


def test_a_rollback_is_refused(world: UnsafeTrustWorld) -> None:
    """An older checkpoint is taken with the proof that it is a prefix, and without it never."""
    logged, verifier = world.logged(gateway()), world.key_verifier()
    world.append(b"newer")
    newest = seen(world, 3)
    assert verifier.consistency_needed(logged, newest) == (2, 3)
    assert (
        reason(lambda: verifier.verify(logged, purpose="gateway", seen=newest))
        is Rejection.ROLLBACK
    )
    proof = world.tree.consistency(2, 3)
    verifier.verify(logged, purpose="gateway", seen=newest, consistency=proof)


def test_another_history_is_refused(world: UnsafeTrustWorld) -> None:
    """A larger tree that does not continue the one seen is refused, with any proof."""
    logged, verifier = world.logged(gateway()), world.key_verifier()
    forked = replace(seen(world, 1), root=bytes(32))
    for proof in ((), world.tree.consistency(1, 2)):
        with pytest.raises(LogRejected) as refusal:
            verifier.verify(logged, purpose="gateway", seen=forked, consistency=proof)
        assert refusal.value.reason is Rejection.CONSISTENCY


def test_a_proved_key_is_not_a_verified_one(world: UnsafeTrustWorld) -> None:
    """``prove`` does all but the history: what it refuses is the same, what it gives is less."""
    verifier = world.key_verifier()
    proved = verifier.prove(world.logged(gateway()), purpose="gateway")
    assert isinstance(proved, ProvedKey)
    assert proved.key == GATEWAY_KEY
    expired = world.logged(gateway(end=NOW))
    assert reason(lambda: verifier.prove(expired, purpose="gateway")) is Rejection.EXPIRED
    forged = replace(world.logged(gateway()), record=gateway(end=NOW + 2))
    assert reason(lambda: verifier.prove(forged, purpose="gateway")) is Rejection.INCLUSION


def test_only_the_verifier_builds_a_verified_key(world: UnsafeTrustWorld) -> None:
    """No constructor, copy or pickle makes one."""
    verified = world.key_verifier().verify(world.logged(gateway()), purpose="gateway")
    proved = world.key_verifier().prove(world.logged(gateway()), purpose="gateway")
    with pytest.raises(TypeError):
        ProvedKey(purpose="gateway", key=GATEWAY_KEY)
    with pytest.raises(TypeError):
        replace(verified, key=b"x")
    for key in (verified, proved):
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copied(key)
    assert isinstance(verified, VerifiedKey)
    assert GATEWAY_KEY.hex() not in repr(verified)


def test_at_most_two_keys_are_valid_at_once() -> None:
    """However often a key is added, its window waits until one other at most is valid."""
    records: list[KeyRecord] = []
    for number in range(6):
        begin, end = next_window(records, now=NOW + number, lifetime_s=10 * HOUR)
        records.append(gateway(begin, end, key=bytes([number]) * 1216))
        assert most_at_once(records) <= MOST_VALID
    assert [r.not_before for r in records[:3]] == [NOW, NOW + 1, NOW + 10 * HOUR]
    assert next_window(records, now=NOW + 900 * HOUR, lifetime_s=5)[0] == NOW + 900 * HOUR


def test_a_third_key_is_counted() -> None:
    """Windows that touch do not overlap; three at one moment are three; one twice is one."""
    first, second = gateway(NOW, NOW + 10), gateway(NOW + 10, NOW + 20)
    assert most_at_once([]) == 0
    assert most_at_once([first, first, second]) == 1
    third = gateway(NOW + 5, NOW + 15)
    assert most_at_once([first, second, third]) == 2
    assert most_at_once([first, second, third, gateway(NOW + 9, NOW + 11)]) == 3
