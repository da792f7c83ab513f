"""Tokens at the gateway: of a logged key in its window, once, by the holder, for one envelope."""

import time
from dataclasses import replace

import pytest

from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import gateway_pb2
from trust.keys import KeyRecord
from trust.tokens import TokenIssuer, begin, token_challenge

CHALLENGE = token_challenge("tests")


@pytest.fixture(scope="module")
def other_key() -> TokenIssuer:
    return TokenIssuer.generate()


@pytest.fixture
async def node(serving, make_node):
    node = await make_node()
    await serving.announce(node)
    return node


def token_of(issuer: TokenIssuer):
    pending = begin(issuer.spki, CHALLENGE, 1)
    return pending.finish([issuer.sign(item) for item in pending.blinded])[0]


def record(issuer: TokenIssuer, begins: int, ends: int) -> KeyRecord:
    now = int(time.time())
    return KeyRecord(
        purpose="issuer", key=issuer.spki, not_before=now + begins, expires_at=now + ends
    )


async def test_a_rotated_key_is_taken_up_and_the_old_one_still_holds(
    serving, device, node, world, other_key
):
    """A key published while the gateway runs pays from then on, and so do older tokens."""
    old, new = world.token(), token_of(other_key)
    early = await device.seal(b"x", [node], token=new)
    assert await device.refused(device.frames(early)) == RefusalCode.TOKEN_INVALID
    world.publish(record(other_key, 0, 3600).canonical())
    await serving.keys.refresh()
    assert await device.ask(await device.seal(b"x", [node], token=new))
    assert await device.ask(await device.seal(b"x", [node], token=old))
    shown = await serving.relay.Keys(gateway_pb2.KeysRequest(), timeout=10)
    purposes = [KeyRecord.parse(key.record).purpose for key in shown.keys]
    assert sorted(purposes) == ["gateway", "issuer", "issuer"]


async def test_a_token_of_an_expired_key_is_refused(serving, device, node, world, other_key):
    """A logged key whose window has ended: `token_expired`, and no node hears of it."""
    world.publish(record(other_key, -100, -1).canonical())
    await serving.keys.refresh()
    sealed = await device.seal(b"x", [node], token=token_of(other_key))
    assert await device.refused(device.frames(sealed)) == RefusalCode.TOKEN_EXPIRED
    assert node.attempts == 0


async def test_a_token_of_a_key_that_is_not_logged_is_refused(device, node, other_key):
    """An issuer's signature under a key that is not public pays for nothing."""
    sealed = await device.seal(b"x", [node], token=token_of(other_key))
    assert await device.refused(device.frames(sealed)) == RefusalCode.TOKEN_INVALID
    assert node.attempts == 0


async def test_a_key_that_is_not_valid_yet_pays_for_nothing(
    serving, device, node, world, other_key
):
    """The next key's tokens are refused until its window begins."""
    world.publish(record(other_key, 600, 3600).canonical())
    await serving.keys.refresh()
    sealed = await device.seal(b"x", [node], token=token_of(other_key))
    assert await device.refused(device.frames(sealed)) == RefusalCode.TOKEN_INVALID


async def test_a_replayed_envelope_is_refused(serving, device, node, world):
    """Sent again as it was, its token is spent; with a fresh token, it names another one."""
    sealed = await device.seal(b"x", [node])
    frames = device.frames(sealed)
    async for _ in device.exchange(frames):
        pass
    assert await device.refused(frames) == RefusalCode.TOKEN_SPENT
    fresh = world.token()
    again = device.frames(
        sealed,
        token=fresh.bytes,
        holder_key=fresh.holder_key,
        holder_signature=fresh.sign(sealed.header.digest()),
    )
    assert await device.refused(again) == RefusalCode.TOKEN_INVALID
    assert node.attempts == 1


async def test_a_spent_token_is_remembered_until_its_key_has_ended(serving, device, node):
    """The store keeps the mark for the rest of the key's window and a margin, and no year."""
    asked = []
    spend = serving.store.spend_token

    async def noted(token_hash: bytes, *, ttl_s: int) -> bool:
        asked.append(ttl_s)
        return await spend(token_hash, ttl_s=ttl_s)

    serving.store.spend_token = noted
    assert await device.ask(await device.seal(b"x", [node]))
    (key,) = serving.keys.current("issuer").values()
    left = key.expires_at - time.time()
    assert left < asked[0] <= left + 3700


async def test_a_log_that_is_gone_takes_no_key_away(serving, device, node, world):
    """Without the log the gateway goes on with what it has verified."""

    async def gone(*_: int):
        raise CloudRefused("gone", refusal=RefusalCode.INTERNAL)

    world.entries = gone
    await serving.keys.refresh()
    await serving.keys.refresh()
    assert await device.ask(await device.seal(b"x", [node]))
    assert serving.said.getvalue().count("log_unavailable") == 1


async def test_a_rewritten_log_gives_no_keys(serving, world):
    """Keys proved by a history that does not continue the one seen are not taken up."""
    before = serving.keys.current("issuer").keys()
    seen = serving.keys._newest
    serving.keys._newest = replace(seen, root=bytes(32))
    await serving.keys._prove()
    assert before
    assert not serving.keys.current("issuer")
    assert "split_view" in serving.said.getvalue()
