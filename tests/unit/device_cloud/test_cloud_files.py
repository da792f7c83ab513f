"""Wallet, checkpoint, account and enrolment: what the client keeps on disk."""

import json
import stat
import time
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


@pytest.fixture
def tokens(cloud) -> tuple[Token, ...]:
    pending = begin(cloud.issuer.spki, bytes.fromhex(cloud.root.token_challenge), 6)
    return pending.finish([cloud.issuer.sign(blinded) for blinded in pending.blinded])


@pytest.fixture
def wallet(cloud, tmp_path) -> Wallet:
    return Wallet.of(cloud.root, tmp_path / "state" / "wallet.json")


def test_tokens_come_out_once(wallet, tokens, tmp_path) -> None:
    """Each token that went in comes out once; the file is private."""
    assert (wallet.count(), wallet.take()) == (0, None)
    wallet.add(tokens[:2])
    path = tmp_path / "state" / "wallet.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wallet.add(tokens[2:3])
    taken = {wallet.take().hash for _ in range(3)}
    assert taken == {token.hash for token in tokens[:3]}
    assert wallet.take() is None


def test_a_token_is_gone_from_the_file_before_it_is_given_out(
    wallet, tokens, tmp_path, monkeypatch
) -> None:
    """Another process that reads the file finds it no more; what cannot be removed is kept."""
    wallet.add(tokens)
    given = wallet.take()
    assert given.to_secret().hex() not in (tmp_path / "state" / "wallet.json").read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_files.os, "fsync", full)
    with pytest.raises(StoreError):
        wallet.take()
    monkeypatch.undo()
    assert wallet.count() == 5


def test_threads_share_a_wallet(wallet, tokens) -> None:
    """Whoever takes at the same time gets different tokens."""
    wallet.add(tokens)
    with ThreadPoolExecutor(6) as pool:
        taken = [token.hash for token in pool.map(lambda _: wallet.take(), range(6))]
    assert len(set(taken)) == 6
    assert wallet.count() == 0


def test_tokens_of_another_issuer_are_dropped(cloud, wallet, tokens, tmp_path) -> None:
    """A new issuer key or challenge makes the old tokens worthless: they are not sent."""
    wallet.add(tokens)
    root = replace(cloud.root, token_challenge="abcd")
    other = Wallet.of(root, tmp_path / "state" / "wallet.json")
    assert other.count() == 0
    other.add(tokens[:1])
    assert (other.count(), wallet.count()) == (1, 0)


@pytest.mark.parametrize("damage", ["", "[]", '{"schema": "x"}', "not json"])
def test_a_damaged_wallet_is_an_error(wallet, tmp_path, damage) -> None:
    """It is not overwritten: there may be tokens in it."""
    wallet.count()
    (tmp_path / "state" / "wallet.json").write_text(damage)
    for call in (wallet.count, wallet.take, lambda: wallet.add(())):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.hint
        assert caught.value.__cause__ is None


def test_no_token_in_repr(wallet, tokens) -> None:
    """A wallet prints its path."""
    wallet.add(tokens)
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
