"""The device's end of the outer seal: what the relay carries, and a gateway key that changed."""

import pytest

from device_agent.cloud.sealed import SealedTransport, sealed_fetch
from device_agent.testing import InMemoryCloud
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, Rejection
from protos.lanai.v1alpha.gateway_pb2 import FetchRequest, FetchResponse, RosterRequest

QUESTION = FetchRequest(roster=RosterRequest()).SerializeToString()


class KeyOf:
    """A key source that gives what the cloud's gateway has, or had."""

    def __init__(self, cloud: InMemoryCloud) -> None:
        self._cloud = cloud
        self.key = cloud.gateway.key.public_key
        self.forgotten = 0

    async def gateway_key(self) -> bytes:
        return self.key

    def forget(self) -> None:
        self.forgotten += 1
        self.key = self._cloud.gateway.key.public_key


async def answer_of(client, asked) -> str:
    async with client.open(asked, deadline_s=10) as stream:
        return "".join([str.__str__(piece) async for piece in stream])


async def test_the_relay_carries_neither_nodes_nor_token(cloud, client, asked):
    """Of a whole request nothing that names a node, a token or a request is in its payloads."""
    assert await answer_of(client, asked) == "Hello world"
    carried = b"".join(cloud.relayed)
    [spent] = cloud.spent
    for hidden in [spent, cloud.issuer.key_id, *(node.key.node_id for node in cloud.nodes)]:
        assert hidden not in carried
    assert b"Hello" not in carried


async def test_a_changed_gateway_key_costs_no_token(cloud, client, asked):
    """The gateway has a new key and not the old: the device looks for it once, and asks again."""
    assert await answer_of(client, asked) == "Hello world"
    cloud.gateway.replace_key()
    assert await answer_of(client, asked) == "Hello world"
    assert len(cloud.spent) == 2
    assert client.tokens_lost == 0


async def test_a_key_that_stays_unknown_is_an_error(cloud):
    """Asked again once, not for ever."""
    keys = KeyOf(cloud)
    cloud.gateway.replace_key()
    stale = keys.key
    keys.forget = lambda: setattr(keys, "forgotten", keys.forgotten + 1)
    transport = SealedTransport(cloud, keys)
    with pytest.raises(CloudRefused) as caught:
        await transport.fetch(QUESTION)
    assert caught.value.refusal is RefusalCode.UNKNOWN_KEY
    assert (keys.forgotten, keys.key) == (1, stale)


async def test_a_refusal_comes_under_the_seal(cloud):
    """The word is not in what the relay carried, and is the device's error."""
    cloud.script.refusals.append(RefusalCode.TOKEN_SPENT)
    transport = SealedTransport(cloud, KeyOf(cloud))

    async def frames():
        yield b"\x0a\x00"  # an empty ``open``
        yield b"\x12\x00"  # an empty ``chunk``

    with pytest.raises(CloudRefused) as caught:
        [_ async for _ in transport.exchange(frames())]
    assert caught.value.refusal is RefusalCode.TOKEN_SPENT
    assert RefusalCode.TOKEN_SPENT.encode() not in b"".join(cloud.relayed)


async def test_a_cut_or_changed_answer_to_a_question_is_refused(cloud):
    """Half of an answer is none; a changed one does not open."""

    class Relay:
        def __init__(self, change) -> None:
            self._change = change

        async def fetch(self, payload):
            return self._change(await cloud.fetch(payload))

    key = cloud.gateway.key.public_key
    whole = await sealed_fetch(Relay(lambda answer: answer), key, QUESTION)
    assert len(FetchResponse.FromString(whole).roster.bundles) == 3
    for change, reason in (
        (lambda answer: answer[:-17], Rejection.TRUNCATED),
        (lambda answer: b"", Rejection.TRUNCATED),
        (lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]), Rejection.DECRYPTION),
        (lambda answer: bytes([answer[0] ^ 1]) + answer[1:], Rejection.DECRYPTION),
        (lambda answer: answer + b"x", Rejection.DECRYPTION),
    ):
        with pytest.raises(EnvelopeRejected) as caught:
            await sealed_fetch(Relay(change), key, QUESTION)
        assert caught.value.reason is reason


async def test_an_answer_before_the_request_is_refused(cloud):
    """A relay that does not wait for what it is to carry has nothing that could be opened."""

    class Hasty:
        async def exchange(self, frames):
            yield b"an answer"

    async def frames():
        yield b"never asked for"

    transport = SealedTransport(Hasty(), KeyOf(cloud))
    with pytest.raises(EnvelopeRejected) as caught:
        await anext(transport.exchange(frames()))
    assert caught.value.reason is Rejection.MALFORMED
