"""Node keys are replaced at half their life; what was sealed to the old ones is still served.

Real nodes on real ports, a real gateway, a real device; the clock is the test's.
"""

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from threat_stage import ANSWER, HOUR_S, Stage

from cloud_node.events import Component, EventLog
from cloud_node.identity import certificate_pem, open_channel
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.epoch import EpochPlan
from cloud_node.node.front import Shared
from cloud_node.node.load import Load
from cloud_node.node.node import Node
from cloud_node.testing.inline import InlineKeyholding
from cloud_node.tree.keyholder import Keyholder
from trust.attestation import UnsafeSoftwareAttester
from trust.testing import unsafe_release

KEY_LIFE_S = HOUR_S // 2


class _Log:
    """The stage's log, as a node asks it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def inclusion(self, leaf_hash: bytes):
        return self._stage.proof(unsafe_release().canonical())

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def stage(make_stage) -> Stage:
    """Nobody is announced but the node below; its channel is a real one."""
    stage = await make_stage(nodes=1)
    await stage.store.withdraw(stage.parties[0].node_id)
    stage.parties[0].up = False
    await stage.roster.refresh()
    stage.roster._connect = lambda address, certificate: open_channel(
        address, certificate_pem(certificate)
    )
    return stage


@pytest.fixture
async def node(stage: Stage) -> AsyncIterator[Node]:
    events = EventLog(Component.NODE, stream=io.StringIO())
    attester = UnsafeSoftwareAttester(stage.world.operator_key, unsafe_release())
    keyholder = Keyholder([attester], clock=lambda: stage.now)
    shared = Shared(
        store=stage.store,
        load=Load(max_live=8),
        keyholding=InlineKeyholding(keyholder, stage.parties[0].model.frames),
        log=events,
        request_timeout_s=30.0,
        clock=lambda: stage.now,
    )
    plan = EpochPlan(
        name="rotating",
        host="127.0.0.1",
        key_lifetime_s=KEY_LIFE_S,
        announce_s=HOUR_S,
        shared=shared,
        bundles=BundleMaker(unsafe_release(), _Log(stage)),
    )
    made = Node(plan, _Log(stage), refresh_s=HOUR_S, drain_s=1.0)
    await made.start()
    await stage.roster.refresh()
    yield made
    await made.close()
    await stage.roster.close()


async def test_a_live_request_outlives_the_rotation(stage, node, question) -> None:
    """It began under the old keys and ends under them; the next one is sealed to the new ones."""
    client = stage.device()
    model, old = stage.parties[0].model, node.epoch
    model.gate = asyncio.Event()
    async with client.open(question, deadline_s=20) as stream:
        pieces = aiter(stream)
        assert await anext(pieces) == ANSWER[0]
        stage.now = old.keys.half_life + 1
        await node.rotate()
        await stage.roster.refresh()
        assert node.epoch.keys.node_id != old.keys.node_id
        model.gate.set()
        assert [piece async for piece in pieces] == [ANSWER[1]]
        assert stream.receipt.node == old.keys.node_id.hex()
    async with stage.device("next").open(question, deadline_s=20) as stream:
        assert [piece async for piece in stream] == list(ANSWER)
        assert stream.receipt.node == node.epoch.keys.node_id.hex()


async def test_a_device_that_did_not_notice_is_served(stage, node, ask) -> None:
    """Sealed to the retired keys within their grace: the gateway still knows their port."""
    client = stage.device()
    await ask(client)
    old = node.epoch
    stage.now += 60
    await node.rotate()
    # The store has the new keys only; the device still has the old roster.
    assert set(await stage.store.roster()) == {node.epoch.keys.node_id}
    await stage.roster.refresh()
    _, stream = await ask(client)
    assert stream.receipt.node == old.keys.node_id.hex()
    assert client.tokens_lost == 0


async def test_keys_never_outlive_their_day(stage, node) -> None:
    """At their end the old port closes, and neither gateway nor device uses the keys any more."""
    old = node.epoch
    client = stage.device()
    await client.status()
    await node.rotate()
    stage.now = float(old.keys.expires_at)
    await node._close_expired()
    assert (await client.status()).verified_nodes == 0
    await stage.roster.refresh()
    assert stage.roster.candidates([old.keys.node_id]) == []
    channel = open_channel(old.address, certificate_pem(old.bundle.tls_certificate))
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await channel.channel_ready()
    finally:
        await channel.close(None)


async def test_every_rotation_makes_new_keys(node) -> None:
    """Node key and TLS key change together, and each bundle is bound to its own."""
    seen = set()
    for _ in range(3):
        keys = node.epoch.keys
        seen |= {keys.node_id, keys.identity.spki_sha256}
        await node.rotate()
    assert len(seen) == 6
