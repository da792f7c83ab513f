"""The outer seal at the gateway: what is refused, what a replay gains, how keys change."""

import asyncio
import time

import grpc
import pytest

from cloud_node.gateway.unsealing import RingKeys
from cloud_node.keyring import KeyRing
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode
from protos.lanai.v1alpha import gateway_pb2
from trust.ohttp import EXCHANGE, GatewayKey, RequestSealer, configuration_of


@pytest.fixture
async def node(serving, make_node):
    made = await make_node()
    await serving.announce(made)
    return made


async def test_an_unknown_key_is_refused_in_the_clear_and_costs_nothing(serving, device, node):
    """Sealed to a key the gateway does not have: it says so, and the token still pays."""
    frames = device.frames(await device.seal(b"x", [node]))
    key = configuration_of(GatewayKey.generate().public_key)
    sealer = RequestSealer(key, media=EXCHANGE)
    pieces = [
        gateway_pb2.Opaque(payload=sealer.seal(f.payload, final=f is frames[-1])) for f in frames
    ]
    assert await device.refused_in_the_clear(pieces) == RefusalCode.UNKNOWN_KEY
    assert node.attempts == 0
    again = await device.seal(b"x", [node], token=device.token)
    assert await device.ask(again) == [b"one", b"two"]


async def test_a_replay_gains_nothing(serving, device, node):
    """The relay sends an exchange again: one refusal under the seal, and no node is asked."""
    pieces, opener = device.sealed(device.frames(await device.seal(b"x", [node])))
    first = [payload async for payload in device.carried(pieces)]
    assert len([opener.open(payload) for payload in first]) > 2
    again = [payload async for payload in device.carried(pieces)]
    assert len(again) == 1
    assert RefusalCode.TOKEN_SPENT.encode() not in again[0]
    assert node.attempts == 1
    assert f'"{RefusalCode.TOKEN_SPENT}"' in serving.said.getvalue()


async def test_a_replay_before_the_first_arrives_counts_once(serving, device, node):
    """Sent twice at the same time, one of the two is run."""
    pieces, _ = device.sealed(device.frames(await device.seal(b"x", [node])))

    async def sent() -> int:
        return len([payload async for payload in device.carried(pieces)])

    lengths = sorted(await asyncio.gather(sent(), sent()))
    assert lengths[0] == 1 < lengths[1]
    assert node.attempts == 1


async def test_a_cut_exchange_reaches_no_node(serving, device, node):
    """Without its final chunk nothing is spent: the same token pays afterwards."""
    pieces, opener = device.sealed(device.frames(await device.seal(b"x", [node])))
    [word] = [opener.open(p) async for p in device.carried(pieces[:-1])]
    assert word == RefusalCode.BAD_REQUEST.encode()
    assert node.attempts == 0
    assert await device.ask(await device.seal(b"x", [node], token=device.token))


async def test_a_changed_piece_is_refused(serving, device, node):
    """One bit changed by the relay: the first piece opens under no key, a later one not at all."""
    frames = device.frames(await device.seal(b"x", [node]))
    for place, word in ((0, None), (1, RefusalCode.ENVELOPE_REJECTED)):
        pieces, opener = device.sealed(frames)
        changed = bytearray(pieces[place].payload)
        changed[-1] ^= 1
        pieces[place] = gateway_pb2.Opaque(payload=bytes(changed))
        if word is None:
            assert await device.refused_in_the_clear(pieces) == RefusalCode.UNKNOWN_KEY
        else:
            assert [opener.open(p) async for p in device.carried(pieces)] == [word.encode()]
    assert node.attempts == 0


async def test_an_exchange_does_not_open_as_a_question(serving, device, node):
    """What was sealed for one method is refused by the other."""
    pieces, _ = device.sealed(device.frames(await device.seal(b"x", [node]))[:1])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.relay.Fetch(pieces[0], timeout=10)
    assert caught.value.details() == RefusalCode.UNKNOWN_KEY


async def test_a_refused_question_is_refused_under_the_seal(serving, device):
    """No question, and sizes no log has: words for the device alone."""
    for question in (
        gateway_pb2.FetchRequest(),
        gateway_pb2.FetchRequest(file=gateway_pb2.FileRequest(path="x")),
    ):
        with pytest.raises(CloudRefused) as caught:
            await device.fetch(question)
        assert caught.value.refusal is RefusalCode.BAD_REQUEST


async def test_the_keys_are_shown_to_everybody_alike(serving, world):
    """Through the relay: the issuer's and the gateway's records, the same bytes each time."""
    asked = [
        await serving.relay.Keys(gateway_pb2.KeysRequest(), timeout=10, metadata=mine)
        for mine in ((), (("x-device", "me"),))
    ]
    shown = [answer.SerializeToString() for answer in asked]
    assert shown[0] == shown[1]
    records = {key.record for key in asked[0].keys}
    assert any(world.gateway_key.public_key.hex().encode() in record for record in records)
    assert len(records) == 2


def test_keys_change_while_the_gateway_runs(tmp_path):
    """A key added to the ring opens at once, the older one until it expires, then no more."""
    ring, clock = KeyRing(tmp_path / "ring", "gateway"), [int(time.time())]
    old = ring.add(now=clock[0], lifetime_s=100)
    keys = RingKeys(ring, clock=lambda: clock[0])
    new = ring.add(now=clock[0], lifetime_s=1000)

    def sealed(record) -> bytes:
        sealer = RequestSealer(configuration_of(record.key), media=EXCHANGE)
        return sealer.seal(b"x", final=True)

    for record in (old, new):
        assert keys.open(sealed(record), media=EXCHANGE)[1] == b"x"
    clock[0] += 100
    with pytest.raises(EnvelopeRejected):
        keys.open(sealed(old), media=EXCHANGE)
    assert keys.open(sealed(new), media=EXCHANGE)[1] == b"x"
