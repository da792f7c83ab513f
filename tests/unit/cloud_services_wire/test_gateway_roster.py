"""What the gateway believes of a node, and when it lets one go."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.identity import TlsIdentity
from lanai.errors import Rejection, TrustError


async def rejected(serving, node_id: bytes, data: bytes) -> Rejection:
    with pytest.raises(TrustError) as caught:
        await serving.verifier.verify(node_id, data)
    return caught.value.reason


async def test_an_announcement_is_believed_only_whole(serving, make_node):
    """Signature, node id, evidence, age and address are each checked."""
    node, verify = await make_node(), serving.verifier.verify
    mine = node.key.node_id
    announced = await verify(mine, node.announcement(live_streams=3))
    assert (announced.address, announced.live_streams) == (node.address, 3)
    stranger = TlsIdentity.generate("stranger")
    cases = {
        Rejection.SIGNATURE: (mine, node.announcement(signed_by=stranger)),
        Rejection.KEY_BINDING: (b"x" * 32, node.announcement()),
        Rejection.UNKNOWN_KEY: (
            mine,
            node.announcement(bundle=node.bundle(Ed25519PrivateKey.generate())),
        ),
        Rejection.EXPIRED: (mine, node.announcement(issued_at=int(time.time()) - 600)),
        Rejection.MALFORMED: (mine, node.announcement(address="no address")),
        Rejection.TOO_LARGE: (mine, bytes(70_000)),
    }
    for reason, (node_id, data) in cases.items():
        assert await rejected(serving, node_id, data) is reason
    assert await rejected(serving, mine, b"\xff\xff") is Rejection.MALFORMED


async def test_a_node_that_does_not_verify_is_never_used(serving, device, make_node):
    """Evidence by an unknown key keeps a node out of the roster, and says so."""
    node = await make_node()
    bad = node.announcement(bundle=node.bundle(Ed25519PrivateKey.generate()))
    await serving.store.announce(node.key.node_id, bad, ttl_s=60)
    await serving.roster.refresh()
    assert list(serving.roster.bundles()) == []
    assert '"unknown_key"' in serving.said.getvalue()


async def test_a_node_stays_while_store_or_channel_holds_it(serving, make_node, eventually):
    """A withdrawn announcement alone evicts nobody; with the channel gone too, the node goes."""
    node = await make_node()
    await serving.announce(node)
    entry = serving.roster.candidates([node.key.node_id])[0]
    await eventually(lambda: entry.connected)
    await serving.store.withdraw(node.key.node_id)
    await serving.roster.refresh()
    assert serving.roster.candidates([node.key.node_id])
    await node.stop()
    await eventually(lambda: not entry.connected)
    await serving.roster.refresh()
    assert not serving.roster.candidates([node.key.node_id])


async def test_an_expired_node_is_not_offered(serving, make_node):
    """A bundle past its expiry is neither used nor shown, whatever the store says."""
    node = await make_node()
    await serving.announce(node)
    serving.roster._clock = lambda: time.time() + 7200
    assert serving.roster.candidates([node.key.node_id]) == []
    assert list(serving.roster.bundles()) == []
    await serving.roster.refresh()
    assert '"node_evicted"' in serving.said.getvalue()


async def test_an_older_announcement_changes_nothing(serving, make_node):
    """A store that shows an old announcement again cannot turn the load back."""
    node = await make_node()
    now = int(time.time())
    await serving.announce(node, issued_at=now, live_streams=9)
    await serving.announce(node, issued_at=now - 5, live_streams=0)
    assert serving.roster.candidates([node.key.node_id])[0].announced.live_streams == 9


async def test_a_log_that_forks_is_refused(serving, make_node, world):
    """A later checkpoint that does not continue the one seen keeps its node out."""
    first, second = await make_node(), await make_node()
    await serving.announce(first)
    world.publish(b"one more")

    async def wrong(old: int, new: int):
        return (b"\0" * 32,)

    serving.verifier._consistency = wrong
    reason = await rejected(serving, second.key.node_id, second.announcement())
    assert reason in (Rejection.CONSISTENCY, Rejection.ROLLBACK)
