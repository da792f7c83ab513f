"""Keys of issuer and gateway at the device: verified in the log, used in their window, rotated."""

import asyncio
from pathlib import Path

import pytest

from device_agent.cloud import Account, CheckpointStore, Wallet
from device_agent.cloud.keys import ClusterKeys
from device_agent.cloud.purse import Purse
from device_agent.testing import InMemoryCloud
from lanai.errors import CloudUnavailable, LogRejected, Rejection
from protos.lanai.v1alpha.gateway_pb2 import KeysResponse
from trust.keys import KeyRecord
from trust.log.checkpoint import Checkpoint
from trust.tokens import TokenIssuer

HOUR = 3600


class Shown:
    """The cloud in memory, showing the key records a test chooses."""

    def __init__(self, cloud: InMemoryCloud) -> None:
        self.cloud = cloud
        self.now = cloud.world.now
        self.records = [
            self.record(cloud.issuer),
            self.record(None, key=cloud.gateway.key.public_key),
        ]
        self.asked = 0
        self.issuers = {cloud.issuer.key_id: cloud.issuer}

    def record(
        self, issuer: TokenIssuer | None, *, key: bytes = b"", begin: int = 0, end: int = HOUR
    ) -> KeyRecord:
        return KeyRecord(
            purpose="issuer" if issuer else "gateway",
            key=issuer.spki if issuer else key,
            not_before=self.now + begin,
            expires_at=self.now + end,
        )

    async def keys(self) -> bytes:
        self.asked += 1
        logged = [self.cloud.world.logged(record) for record in self.records]
        return KeysResponse(keys=[key.to_proto() for key in logged]).SerializeToString()

    async def issue(self, account, credential, key_id, blinded):
        return tuple(self.issuers[key_id].sign(item) for item in blinded), 9

    def __getattr__(self, name: str) -> object:
        return getattr(self.cloud, name)


@pytest.fixture
def shown(cloud: InMemoryCloud) -> Shown:
    return Shown(cloud)


@pytest.fixture
def store(cloud: InMemoryCloud, tmp_path: Path) -> CheckpointStore:
    return CheckpointStore.of(cloud.root, tmp_path / "checkpoints")


@pytest.fixture
def keys(shown: Shown, store: CheckpointStore) -> ClusterKeys:
    return ClusterKeys(shown.cloud.root, shown, store, clock=lambda: float(shown.cloud.world.now))


@pytest.fixture
def purse(shown: Shown, keys: ClusterKeys, tmp_path: Path) -> Purse:
    return Purse(
        shown.cloud.root,
        Wallet.of(shown.cloud.root, tmp_path / "wallet.json"),
        shown,
        Account(account="tester", credential=b"c" * 32),
        keys,
        batch=2,
        clock=lambda: float(shown.cloud.world.now),
    )


@pytest.fixture(scope="module")
def other() -> TokenIssuer:
    return TokenIssuer.generate()


async def test_keys_are_verified_and_remembered(shown, keys, store) -> None:
    """Both purposes from one question; the checkpoint that proves them is kept with its note."""
    assert await keys.gateway_key() == shown.cloud.gateway.key.public_key
    (issuer,) = await keys.issuer_keys()
    assert issuer.key == shown.cloud.issuer.spki
    assert shown.asked == 1
    assert store.newest().size == shown.cloud.world.tree.size
    assert store.note()
    keys.forget()
    await keys.gateway_key()
    assert shown.asked == 2


async def test_a_grown_log_is_proved_through_the_gateways_own_key(shown, keys, store) -> None:
    """The consistency proof comes sealed, before the key is trusted with anything else."""
    await keys.gateway_key()
    before = store.newest().size
    shown.cloud.world.append(b"another leaf")
    keys.forget()
    assert await keys.gateway_key()
    assert store.newest().size == before + 1


async def test_a_key_that_is_not_logged_is_not_used(shown, keys, other) -> None:
    """A record under another record's proof, such as a key for one user alone, is refused."""
    special = KeysResponse.FromString(await shown.keys())
    special.keys[0].record = shown.record(other).canonical()

    async def tampered() -> bytes:
        return special.SerializeToString()

    shown.keys = tampered
    assert await keys.gateway_key()
    with pytest.raises(LogRejected) as refusal:
        await keys.issuer_keys()
    assert refusal.value.reason is Rejection.INCLUSION


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ((-HOUR, 0), Rejection.EXPIRED),
        ((HOUR, 2 * HOUR), Rejection.NOT_YET_VALID),
        ((0, 8 * 24 * HOUR), Rejection.LIFETIME),
    ],
)
async def test_windows_are_kept(shown, keys, other, window, reason) -> None:
    """Expired, not yet valid and too long: no tokens are asked for under such a key."""
    shown.records[0] = shown.record(other, begin=window[0], end=window[1])
    with pytest.raises(LogRejected) as refusal:
        await keys.issuer_keys()
    assert refusal.value.reason is reason


async def test_a_split_view_of_the_keys_is_refused(shown, keys, store) -> None:
    """A log that contradicts what this device stored shows it no keys."""
    await shown.keys()
    world = shown.cloud.world
    store.advance(Checkpoint(origin=world.origin, size=world.tree.size, root=bytes(32)))
    with pytest.raises(LogRejected) as refusal:
        await keys.gateway_key()
    assert refusal.value.reason is Rejection.SPLIT_VIEW


async def test_a_device_with_old_tokens_goes_on_after_a_rotation(shown, keys, purse, other) -> None:
    """Old tokens are spent first while their key holds; new ones are of the new key."""
    old = await purse.take()
    shown.records.append(shown.record(other, begin=10, end=2 * HOUR))
    shown.issuers[other.key_id] = other
    shown.cloud.world.now += 20
    keys.forget()
    assert len(await keys.issuer_keys()) == 2
    assert key_of(await purse.take()) == key_of(old) == shown.cloud.issuer.key_id
    assert key_of(await purse.take()) == other.key_id


async def test_tokens_of_an_ended_key_are_never_sent(shown, keys, purse, other) -> None:
    """When the old key's window has ended, its tokens stay behind; new ones are fetched."""
    await purse.take()
    assert await purse.left() == 1
    shown.cloud.world.now += HOUR
    assert await purse.left() is None
    shown.records = [
        shown.record(other, begin=HOUR - 60, end=2 * HOUR),
        shown.record(None, key=shown.cloud.gateway.key.public_key, end=2 * HOUR),
    ]
    shown.issuers[other.key_id] = other
    keys.forget()
    assert key_of(await purse.take()) == other.key_id
    assert await purse.left() == 1


def wallet_of(shown: Shown, folder: Path) -> Wallet:
    """Another process's view of the same file."""
    return Wallet.of(shown.cloud.root, folder / "wallet.json")


async def test_a_token_at_hand_is_in_one_place(shown, purse, tmp_path: Path) -> None:
    """It has left the file before it is given out, counts as left, and `close` puts it back."""
    now, file = shown.cloud.world.now, wallet_of(shown, tmp_path)
    first = await purse.take()
    purse.prepare()
    purse.prepare()
    assert await purse.left() == 1
    assert file.count(now=now) == 0
    await purse.close()
    await purse.close()
    assert file.count(now=now) == 1
    second = await purse.take()
    assert second.bytes != first.bytes
    assert file.count(now=now) == 0


async def test_a_token_at_hand_is_given_out_once(shown, purse, tmp_path: Path) -> None:
    """Requests at one time get different tokens, the one at hand among them."""
    await purse.take()
    purse.prepare()
    tokens = await asyncio.gather(*(purse.take() for _ in range(3)))
    assert len({token.bytes for token in tokens}) == 3


async def test_a_token_drawn_meanwhile_is_given_out(shown, purse, monkeypatch) -> None:
    """The wallet's last token is drawn while a request looks into it: it is that request's, and
    no other is fetched."""
    await purse.take()
    look, looked = purse._from_wallet, []

    async def late(keys):
        looked.append(keys)
        if len(looked) == 1:
            purse.prepare()
            await asyncio.shield(purse._drawing)
        return await look(keys)

    monkeypatch.setattr(purse, "_from_wallet", late)
    assert await purse.take()
    assert await purse.left() is None


async def test_a_cancelled_request_loses_no_token(shown, purse, tmp_path: Path) -> None:
    """Who waits for the token that is being drawn may go; the token stays at hand."""
    await purse.take()
    purse.prepare()
    waiting = asyncio.create_task(purse.take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await purse.left() == 1


async def test_a_token_at_hand_of_an_ended_key_is_not_sent(shown, keys, purse, other) -> None:
    """Its key is looked at again when it is asked for."""
    await purse.take()
    purse.prepare()
    assert await purse.left() == 1
    shown.cloud.world.now += HOUR
    shown.records = [
        shown.record(other, begin=HOUR - 60, end=2 * HOUR),
        shown.record(None, key=shown.cloud.gateway.key.public_key, end=2 * HOUR),
    ]
    shown.issuers[other.key_id] = other
    keys.forget()
    assert await purse.left() is None
    assert key_of(await purse.take()) == other.key_id


def key_of(token) -> bytes:
    return token.bytes[66:98]


@pytest.mark.parametrize("answer", [b"\xff", b"x" * 600_000, b""])
async def test_noise_instead_of_keys(shown, keys, answer: bytes) -> None:
    """Another message, too long a one and an empty one give no key and no foreign error."""

    async def noise() -> bytes:
        return answer

    shown.keys = noise
    with pytest.raises(CloudUnavailable):
        await keys.gateway_key()
