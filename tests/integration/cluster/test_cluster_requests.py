"""One real request path: device, relay, gateway and node as processes of one cluster."""

import asyncio

from cloud_node.cluster.rotation import rotate_keys
from cloud_node.cluster.status import status
from cloud_node.cluster.views import shown_keys
from device_agent.cloud import CloudClient, CloudRequest
from device_agent.cloud_seam import CloudAsk
from inference.engine import Sampling
from inference.text import ChatMessage
from lanai.content import Content


def ask(max_tokens: int = 8) -> CloudAsk:
    return CloudRequest(
        messages=(ChatMessage(role="user", text=Content("what is the tide doing")),),
        max_tokens=max_tokens,
        sampling=Sampling(),
        stop=(),
    )


async def test_a_sealed_request_crosses_the_whole_cluster(cluster) -> None:
    """The device client verifies, pays, seals and gets a proved answer with its receipt."""
    client = cluster.client()
    try:
        async with client.open(ask(), deadline_s=60) as stream:
            pieces = [piece async for piece in stream]
    finally:
        await client.close()
    assert "".join(pieces)
    assert 1 <= stream.final.output_tokens <= 8
    assert "unsafe_software" in stream.receipt.evidence.split("+")
    found = await status(cluster.layout)
    assert [node["measurement"] for node in found["nodes"]] == [stream.receipt.measurement]


async def test_status_says_of_each_part_that_it_answers(cluster) -> None:
    """Every part is alive and ready, the node verified, the log cosigned."""
    found = await status(cluster.layout)
    parts = ("gateway", "issuer", "relay", "log", "store", "witness")
    assert all(found[part]["alive"] and found[part]["ready"] for part in parts), found
    assert found["isolation"] == "same-user"
    assert found["isolation_reason"], "and why it is no better"
    assert found["log"]["size"] >= 3, "the release, and the keys of issuer and gateway"
    assert len(found["log"]["witnesses"]) == 1
    [node] = found["nodes"]
    assert (node["state"], node["verified"]) == ("running", True)
    # A node reports twice a second: the last request's end shows within a moment.
    async with asyncio.timeout(60):
        while (await status(cluster.layout))["nodes"][0]["live_streams"]:
            await asyncio.sleep(0.02)


async def test_a_token_pays_once(cluster) -> None:
    """The same token on another envelope is refused."""
    token = await cluster.token()
    assert await cluster.send(await cluster.frames(token)) == "answered"
    assert await cluster.send(await cluster.frames(token)) == "token_spent"


async def test_a_replayed_envelope_is_refused(cluster) -> None:
    """The same request id with a fresh token is refused by the node: it was burned."""
    request_id = b"0123456789abcdef"
    first = await cluster.frames(await cluster.token(), request_id=request_id)
    assert await cluster.send(first) == "answered"
    again = await cluster.frames(await cluster.token(), request_id=request_id)
    assert await cluster.send(again) == "replayed"


async def test_a_forged_token_is_refused(cluster) -> None:
    """One changed bit in the issuer's signature, and nothing is served."""
    token = await cluster.token()
    frames = await cluster.frames(token)
    forged = token.bytes[:-1] + bytes([token.bytes[-1] ^ 1])
    frames[0].payload = frames[0].payload.replace(token.bytes, forged)
    assert await cluster.send(frames) == "token_invalid"


async def test_many_devices_at_once(cluster) -> None:
    """Twelve requests side by side are all answered."""

    async def one() -> str:
        return await cluster.send(await cluster.frames(await cluster.token(), max_tokens=16))

    assert set(await asyncio.gather(*(one() for _ in range(12)))) == {"answered"}


async def test_keys_rotate_while_a_device_goes_on(cluster) -> None:
    """New keys are in service without a restart; older tokens pay until their key's end."""
    client, old = cluster.client(), await cluster.token()
    try:
        assert await answered(client)
        made = await rotate_keys(cluster.layout)
        assert await answered(client), "with a token of the key before"
        assert await cluster.send(await cluster.frames(old)) == "answered"
    finally:
        await client.close()
    fresh = cluster.client()
    try:
        assert await answered(fresh)
        keys = await shown_keys(cluster.relay)
    finally:
        await fresh.close()
    assert {record.canonical() for record in made} < keys
    assert len(keys) == 4
    assert (await status(cluster.layout))["log"]["size"] >= 5


async def answered(client: CloudClient) -> bool:
    async with client.open(ask(), deadline_s=60) as stream:
        return bool([piece async for piece in stream])
