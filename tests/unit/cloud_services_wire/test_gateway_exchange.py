"""The gateway behind the relay, over real TLS, with nodes that really open envelopes."""

import asyncio

import pytest

from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import gateway_pb2
from trust.bundle import NodeBundle


async def test_a_sealed_request_comes_back_opened_by_its_node(serving, device, make_node):
    """A request sealed to a verified node reaches it whole, and its sealed answer comes back."""
    node = await make_node()
    await serving.announce(node)
    sealed = await device.seal(b"the body", [node])
    assert await device.ask(sealed) == [b"one", b"two"]
    assert node.bodies == [b"the body"]
    assert sealed.opener.node_id == node.key.node_id


async def test_a_body_of_many_chunks_arrives_whole(serving, device, make_node):
    """A body near the limit is many frames, and none is lost, doubled or moved."""
    node = await make_node()
    await serving.announce(node)
    body = bytes(range(256)) * 3000
    assert await device.ask(await device.seal(body, [node])) == [b"one", b"two"]
    assert node.bodies == [body]


async def test_a_token_is_spent_once(serving, device, make_node):
    """The same token on a second envelope is refused, and no node hears of it."""
    node = await make_node()
    await serving.announce(node)
    await device.ask(await device.seal(b"first", [node]))
    again = await device.seal(b"second", [node], token=device.token)
    assert await device.refused(device.frames(again)) == RefusalCode.TOKEN_SPENT
    assert node.attempts == 1


async def test_forged_and_stolen_tokens_are_refused(serving, device, make_node):
    """Changed token bytes, another's signature, and a header naming another token: all refused."""
    node = await make_node()
    await serving.announce(node)
    sealed = await device.seal(b"x", [node])
    forged = bytearray(device.token.bytes)
    forged[-1] ^= 1
    assert await device.refused(device.frames(sealed, token=bytes(forged))) == "token_invalid"
    unsigned = device.frames(sealed, holder_signature=bytes(64))
    assert await device.refused(unsigned) == "token_invalid"
    other = device.world.token()
    stolen = device.frames(
        sealed,
        token=other.bytes,
        holder_key=other.holder_key,
        holder_signature=other.sign(sealed.header.digest()),
    )
    assert await device.refused(stolen) == "token_invalid"
    assert node.attempts == 0


async def test_an_expired_envelope_costs_no_token(serving, device, make_node):
    """Expiry is judged before the token is spent: the same token still pays afterwards."""
    node = await make_node()
    await serving.announce(node)
    late = await device.seal(b"x", [node], expires_in=-1)
    assert await device.refused(device.frames(late)) == "expired"
    fresh = await device.seal(b"x", [node], token=device.token)
    assert await device.ask(fresh) == [b"one", b"two"]


async def test_no_usable_node_costs_no_token(serving, device, make_node):
    """A request for nodes the gateway does not have is refused before the token is spent."""
    node = await make_node()
    sealed = await device.seal(b"x", [node])
    assert await device.refused(device.frames(sealed)) == "no_node"
    await serving.announce(node)
    assert await device.ask(await device.seal(b"x", [node], token=device.token))


async def test_without_the_store_nothing_is_served(serving, device, make_node):
    """A store that is gone spends no token, so every request is refused; the roster stays."""
    node = await make_node()
    await serving.announce(node)
    serving.store.unavailable = True
    await serving.roster.refresh()
    sealed = await device.seal(b"x", [node])
    assert await device.refused(device.frames(sealed)) == "store_unavailable"
    assert node.attempts == 0
    serving.store.unavailable = False
    assert await device.ask(await device.seal(b"x", [node]))


@pytest.mark.parametrize("word", [RefusalCode.DRAINING, RefusalCode.BUSY])
async def test_refusals_before_the_burn_go_to_the_next_node(serving, device, make_node, word):
    """A node that drains or is busy is passed over for another of the K."""
    full, free = await make_node(refuse_with=word), await make_node()
    await serving.announce(full, free)
    for _ in range(6):  # ties fall at random: whichever is asked first
        assert await device.ask(await device.seal(b"x", [full, free])) == [b"one", b"two"]
    assert len(free.bodies) == 6


@pytest.mark.parametrize("word", [RefusalCode.REPLAYED, RefusalCode.INTERNAL])
async def test_refusals_after_the_burn_are_final(serving, device, make_node, word):
    """Any other refusal ends the request: no second node may run it."""
    nodes = [await make_node(refuse_with=word), await make_node(refuse_with=word)]
    await serving.announce(*nodes)
    sealed = await device.seal(b"x", nodes)
    assert await device.refused(device.frames(sealed)) == word
    assert sum(node.attempts for node in nodes) == 1


async def test_a_node_that_cannot_be_reached_is_passed_over(serving, device, make_node):
    """Nothing was sent to a dead node, so the request goes to the next."""
    dead, alive = await make_node(), await make_node()
    await serving.announce(dead, alive)
    await dead.stop()
    for _ in range(4):
        assert await device.ask(await device.seal(b"x", [dead, alive])) == [b"one", b"two"]
    assert await device.refused(device.frames(await device.seal(b"x", [dead]))) == "no_node"


async def test_the_node_stops_when_the_device_goes(serving, device, make_node):
    """Cancelling at the device cancels relay, gateway and node."""
    node = await make_node(hold=True)
    await serving.announce(node)
    sealed = await device.seal(b"x", [node])
    stream = device.exchange(device.frames(sealed))
    assert (await anext(stream)).WhichOneof("frame") == "server_nonce"
    await stream.aclose()
    async with asyncio.timeout(60):
        await node.cancelled.wait()


async def test_an_answer_that_breaks_off_is_seen_as_cut(serving, device, make_node):
    """When the node dies in the middle, the stream ends in an error and without a last frame."""
    node = await make_node(hold=True)
    await serving.announce(node)
    sealed = await device.seal(b"x", [node])
    stream = device.exchange(device.frames(sealed))
    sealed.opener.start((await anext(stream)).server_nonce)
    await node.stop()
    with pytest.raises(CloudRefused) as caught:
        async for _ in stream:
            pass
    assert caught.value.refusal is RefusalCode.NO_NODE
    assert not sealed.opener.finished


async def test_bounds_are_kept(make_serving, device_of, make_node):
    """Too many bytes, frames out of order, and too many exchanges are refused by their words."""
    serving = await make_serving(relay={"max_request_bytes": 100_000}, exchanges=1)
    device, node = device_of(serving), await make_node(hold=True)
    await serving.announce(node)
    large = await device.seal(bytes(900_000), [node])
    pieces, _ = device.sealed(device.frames(large))
    assert await device.refused_in_the_clear(pieces) == "too_large"
    sealed = await device.seal(b"x", [node])
    assert await device.refused(device.frames(sealed)[1:]) == "bad_request"
    assert await device.refused(device.frames(sealed)[:1]) == "bad_request"
    assert await device.refused([gateway_pb2.Opaque(payload=b"\xff")]) == "bad_request"
    behind = [*device.frames(sealed), gateway_pb2.Opaque(payload=b"more")]
    assert await device.refused(behind) == "bad_request"
    stream = device.exchange(device.frames(await device.seal(b"x", [node])))
    await anext(stream)
    pieces, _ = device.sealed(device.frames(await device.seal(b"x", [node])))
    assert await device.refused_in_the_clear(pieces) == "busy"
    await stream.aclose()


async def test_nothing_of_the_device_reaches_the_gateway(serving, device, make_node):
    """Metadata and unknown fields of a device stop at the relay, on both methods."""
    node = await make_node()
    await serving.announce(node)
    question = gateway_pb2.FetchRequest(roster=gateway_pb2.RosterRequest())
    mine = (("x-device", "me"), ("user-agent", "marked/1"))
    await device.fetch(question, _marked, metadata=mine)
    frames, _ = device.sealed(device.frames(await device.seal(b"x", [node])))
    async for _ in device.carried(map(_marked, frames), metadata=mine):
        pass
    assert len(serving.service.seen) == 1 + len(frames)
    for raw, metadata, _ in serving.service.seen:
        assert b"marked" not in raw
        assert metadata.keys() <= {"user-agent"}
        assert "marked" not in metadata["user-agent"]
    assert "x-device" not in dict(node.metadata)


def _marked(frame: gateway_pb2.Opaque) -> gateway_pb2.Opaque:
    """The frame with a field 15 that this version of the wire does not know."""
    return gateway_pb2.Opaque.FromString(frame.SerializeToString() + b"\x7a\x06marked")


async def test_fetch_gives_verified_bundles_and_proofs(serving, device, make_node, world):
    """A device gets the bundles of usable nodes and the log's proof between two sizes."""
    node, draining = await make_node(), await make_node()
    await serving.announce(node)
    await serving.announce(draining, draining=True)
    answer = await device.fetch(gateway_pb2.FetchRequest(roster=gateway_pb2.RosterRequest()))
    shown = [NodeBundle.from_proto(bundle).node_id for bundle in answer.roster.bundles]
    assert shown == [node.key.node_id]
    world.publish(b"another leaf")
    asked = gateway_pb2.ConsistencyRequest(old_size=1, new_size=2)
    answer = await device.fetch(gateway_pb2.FetchRequest(consistency=asked))
    assert tuple(answer.consistency.hashes) == world.log.consistency(1, 2)


async def test_the_least_loaded_node_is_asked(serving, device, make_node):
    """Of two verified nodes the one with fewer live streams gets the request."""
    loaded, idle = await make_node(), await make_node()
    await serving.announce(loaded, live_streams=9)
    await serving.announce(idle, live_streams=0)
    for _ in range(3):
        await device.ask(await device.seal(b"x", [loaded, idle]))
    assert (len(loaded.bodies), len(idle.bodies)) == (0, 3)


async def test_refusals_are_counted_without_content(serving, device, make_node):
    """The event log holds the refusal's word and nothing of the request."""
    node = await make_node()
    sealed = await device.seal(b"canary-canary", [node])
    await device.refused(device.frames(sealed))
    said = serving.said.getvalue()
    assert '"no_node"' in said
    for secret in (device.token.bytes.hex(), sealed.header.request_id.hex(), "canary"):
        assert secret not in said
