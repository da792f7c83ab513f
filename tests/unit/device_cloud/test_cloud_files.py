"""Wallet, checkpoint, account and enrolment: what the client keeps on disk."""

import json
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from device_agent.cloud import Account, CheckpointStore, CloudClient, Wallet
from lanai.errors import (
    ConfigError,
    LogRejected,
    QuotaExhausted,
    Rejection,
    StoreError,
    TrustRootRejected,
)
from lanai.folders import Folders
from lanai.settings import Settings
from trust import private_files
from trust.log.checkpoint import Checkpoint
from trust.tokens import Token, begin
from trust.updates.testing import unsafe_enrol
from trust.witnessed import CheckpointVerifier

NOW = 1_800_000_000
END = NOW + 3600


@pytest.fixture
def tokens(cloud) -> tuple[Token, ...]:
    pending = begin(cloud.issuer.spki, bytes.fromhex(cloud.root.token_challenge), 6)
    return pending.finish([cloud.issuer.sign(blinded) for blinded in pending.blinded])


@pytest.fixture
def key_id(cloud) -> bytes:
    return cloud.issuer.key_id


@pytest.fixture
def wallet(cloud, tmp_path) -> Wallet:
    return Wallet.of(cloud.root, tmp_path / "state" / "wallet.json")


@pytest.fixture
def put(wallet, key_id) -> Callable[..., None]:
    def add(tokens, *, key: bytes = key_id, end: int = END, now: int = NOW) -> None:
        wallet.add(tokens, key_id=key, expires_at=end, now=now)

    return add


def test_tokens_come_out_once(wallet, put, tokens, key_id, tmp_path) -> None:
    """Each token that went in comes out once; the file is private."""
    assert (wallet.count(now=NOW), wallet.take([key_id], now=NOW)) == (0, None)
    put(tokens[:2])
    path = tmp_path / "state" / "wallet.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    put(tokens[2:3])
    taken = {wallet.take([key_id], now=NOW).hash for _ in range(3)}
    assert taken == {token.hash for token in tokens[:3]}
    assert wallet.take([key_id], now=NOW) is None


def test_tokens_are_kept_by_their_issuer_key(wallet, put, tokens, key_id) -> None:
    """Only tokens of the keys asked for come out, in the order of these keys."""
    put(tokens[:2], key=b"o" * 32)
    put(tokens[2:4])
    assert wallet.take([b"x" * 32], now=NOW) is None
    assert wallet.take([key_id, b"o" * 32], now=NOW).hash in {t.hash for t in tokens[2:4]}
    assert wallet.take([b"o" * 32, key_id], now=NOW).hash in {t.hash for t in tokens[:2]}
    assert wallet.count(now=NOW) == 2


def test_tokens_of_an_expired_key_are_dropped(wallet, put, tokens, key_id, tmp_path) -> None:
    """After the key's end its tokens are neither counted nor given out, and leave the file."""
    put(tokens[:2], end=NOW + 10)
    assert wallet.count(now=NOW + 9) == 2
    assert wallet.count(now=NOW + 10) == 0
    assert wallet.take([key_id], now=NOW + 10) is None
    put(tokens[2:3], key=b"n" * 32, now=NOW + 10)
    text = (tmp_path / "state" / "wallet.json").read_text()
    assert tokens[0].to_secret().hex() not in text
    assert tokens[2].to_secret().hex() in text


def test_a_token_is_gone_from_the_file_before_it_is_given_out(
    wallet, put, tokens, key_id, tmp_path, monkeypatch
) -> None:
    """Another process that reads the file finds it no more; what cannot be removed is kept."""
    put(tokens)
    given = wallet.take([key_id], now=NOW)
    assert given.to_secret().hex() not in (tmp_path / "state" / "wallet.json").read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_files.os, "fsync", full)
    with pytest.raises(StoreError):
        wallet.take([key_id], now=NOW)
    monkeypatch.undo()
    assert wallet.count(now=NOW) == 5


def test_threads_share_a_wallet(wallet, put, tokens, key_id) -> None:
    """Whoever takes at the same time gets different tokens."""
    put(tokens)
    with ThreadPoolExecutor(6) as pool:
        taken = [t.hash for t in pool.map(lambda _: wallet.take([key_id], now=NOW), range(6))]
    assert len(set(taken)) == 6
    assert wallet.count(now=NOW) == 0


def test_tokens_of_another_challenge_are_dropped(cloud, wallet, put, tokens, tmp_path) -> None:
    """A new challenge makes the old tokens worthless: they are not sent."""
    put(tokens)
    root = replace(cloud.root, token_challenge="abcd")
    other = Wallet.of(root, tmp_path / "state" / "wallet.json")
    assert other.count(now=NOW) == 0
    other.add(tokens[:1], key_id=b"k" * 32, expires_at=END, now=NOW)
    assert (other.count(now=NOW), wallet.count(now=NOW)) == (1, 0)


def test_a_wallet_of_an_earlier_version_is_empty(wallet, put, tokens, tmp_path) -> None:
    """Its tokens are of an issuer key that is in no log; new ones replace them."""
    wallet.count(now=NOW)
    old = {"schema": "lanai.wallet/1", "purpose": "x", "tokens": [tokens[0].to_secret().hex()]}
    (tmp_path / "state" / "wallet.json").write_text(json.dumps(old))
    assert wallet.count(now=NOW) == 0
    put(tokens[:3])
    assert wallet.count(now=NOW) == 3


DAMAGED = [
    "",
    "[]",
    '{"schema": "x"}',
    "not json",
    '{"schema": "lanai.wallet/2", "keys": []}',
    '{"schema": "lanai.wallet/2", "keys": {"00": {"expires_at": 1, "tokens": []}}}',
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_wallet_is_an_error(wallet, put, key_id, tmp_path, damage) -> None:
    """It is not overwritten: there may be tokens in it."""
    wallet.count(now=NOW)
    (tmp_path / "state" / "wallet.json").write_text(damage)
    for call in (
        lambda: wallet.count(now=NOW),
        lambda: wallet.take([key_id], now=NOW),
        lambda: put(()),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.hint
        assert caught.value.__cause__ is None


def test_no_token_in_repr(wallet, put, tokens) -> None:
    """A wallet prints its path."""
    put(tokens)
    assert tokens[0].to_secret().hex()[:16] not in repr(wallet)


def checkpoint(size: int, root: bytes = b"r" * 32) -> Checkpoint:
    return Checkpoint(origin="log.invalid", size=size, root=root)


def test_a_checkpoint_never_goes_back(cloud, tmp_path) -> None:
    """The newest stays; an older one is not stored over it."""
    store = CheckpointStore.of(cloud.root, tmp_path)
    assert store.newest() is None
    for size in (3, 7, 5):
        store.advance(checkpoint(size))
    assert store.newest() == checkpoint(7)
    (path,) = tmp_path.glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_roots_for_one_size_are_refused(cloud, tmp_path) -> None:
    """Also when another process of this user stored the first."""
    CheckpointStore.of(cloud.root, tmp_path).advance(checkpoint(7))
    with pytest.raises(LogRejected) as caught:
        CheckpointStore.of(cloud.root, tmp_path).advance(checkpoint(7, b"s" * 32))
    assert caught.value.reason is Rejection.SPLIT_VIEW


def test_another_log_key_is_another_log(cloud, tmp_path) -> None:
    """A cluster that was made anew has a history of its own."""
    from device_agent.testing import InMemoryCloud

    CheckpointStore.of(cloud.root, tmp_path).advance(checkpoint(7))
    other = InMemoryCloud(nodes=0, issuer=cloud.issuer).root
    assert CheckpointStore.of(other, tmp_path).newest() is None


def test_the_signed_note_is_kept_with_the_checkpoint(cloud, tmp_path) -> None:
    """Who cosigned the newest checkpoint can be shown later, word for word."""
    store, signed = CheckpointStore.of(cloud.root, tmp_path), cloud.world.checkpoint()
    assert store.note() is None
    seen = CheckpointVerifier(cloud.root).open(signed).checkpoint
    store.advance(seen)
    assert store.note() is None
    store.advance(seen, note=signed)
    assert (store.newest(), store.note()) == (seen, signed)
    store.advance(replace(seen, size=seen.size + 1), note=b"newer")
    store.advance(seen, note=signed)
    assert store.note() == b"newer"


def test_a_checkpoint_of_an_earlier_version_is_read(cloud, tmp_path) -> None:
    """A device keeps its memory of the log across the change of the file's form."""
    store = CheckpointStore.of(cloud.root, tmp_path)
    store.advance(checkpoint(5))
    (path,) = tmp_path.glob("*.json")
    old = {"schema": "lanai.checkpoint/1", "text": checkpoint(7).format()}
    path.write_text(json.dumps(old))
    assert (store.newest(), store.note()) == (checkpoint(7), None)
    store.advance(checkpoint(6))
    assert store.newest() == checkpoint(7)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"schema": "lanai.checkpoint/1"}'])
def test_a_damaged_checkpoint_is_an_error(cloud, tmp_path, damage) -> None:
    """Forgetting it silently would let a log be rolled back."""
    store = CheckpointStore.of(cloud.root, tmp_path)
    store.advance(checkpoint(7))
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage)
    for call in (store.newest, lambda: store.advance(checkpoint(9))):
        with pytest.raises(StoreError):
            call()


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"account": "a"},
        {"account": "", "credential": "00" * 32},
        {"account": "a", "credential": "no hex"},
        {"account": "a", "credential": 5},
        {"account": "a", "credential": "00" * 32, "more": 1},
    ],
)
def test_an_account_file_is_read_strictly(tmp_path, values) -> None:
    """Missing, unknown and odd values are errors."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError):
        Account.load(path)


def enrol(cloud, folders: Folders) -> None:
    folders.state.mkdir(parents=True)
    unsafe_enrol(folders.state, cloud.root)
    account = {"account": "tester", "credential": "63" * 32}
    (folders.state / "account.json").write_text(json.dumps(account))


def test_enrolment(cloud, tmp_path) -> None:
    """Without files there is no client; with them there is, and its account prints no secret."""
    folders = Folders.below(tmp_path)
    assert CloudClient.enrolled(folders, Settings()) is None
    enrol(cloud, folders)
    assert CloudClient.enrolled(folders, Settings()) is not None
    assert CloudClient.enrolled(folders, Settings(profile="development")) is not None
    assert "63" * 8 not in repr(Account.load(folders.state / "account.json"))


def test_a_root_that_is_not_admitted(cloud, tmp_path) -> None:
    """A development root is refused under the production profile, and a damaged one always."""
    folders = Folders.below(tmp_path)
    enrol(cloud, folders)
    with pytest.raises(TrustRootRejected) as caught:
        CloudClient.enrolled(folders, Settings(profile="production"))
    assert caught.value.reason is Rejection.PROFILE
    unsafe_enrol(folders.state, b"{}")
    with pytest.raises(TrustRootRejected):
        CloudClient.enrolled(folders, Settings())


def test_an_expired_root(cloud, tmp_path) -> None:
    """A trust root whose metadata has expired makes no client."""
    folders = Folders.below(tmp_path)
    enrol(cloud, folders)
    unsafe_enrol(folders.state, cloud.root, expires_at=int(time.time()))
    with pytest.raises(TrustRootRejected) as caught:
        CloudClient.enrolled(folders, Settings())
    assert caught.value.reason is Rejection.FREEZE


async def test_an_empty_wallet_is_filled_and_a_quota_ends(cloud, client, asked) -> None:
    """Batches while there is quota, then the last ones singly, then ``QuotaExhausted``."""
    cloud.script.quota = 5
    assert (await client.status()).tokens_left is None
    for left in (3, 2, 1, None, 0):
        async with client.open(asked, deadline_s=10):
            pass
        if left:
            assert (await client.status()).tokens_left == left
    with pytest.raises(QuotaExhausted):
        async with client.open(asked, deadline_s=10):
            pass
    status = await client.status()
    assert (status.tokens_left, status.reachable) == (0, True)
    assert cloud.issued == 5
