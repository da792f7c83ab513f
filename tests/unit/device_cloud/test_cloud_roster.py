"""Which nodes the client seals to, and what it does when none may be."""

from types import SimpleNamespace

import pytest

from device_agent.cloud import CheckpointStore
from device_agent.cloud.roster import MAX_AGE_S, Roster
from device_agent.cloud.status import status_of
from device_agent.cloud.tally import Counts
from device_agent.testing import InMemoryCloud
from lanai.errors import CloudUnavailable, LogRejected, Rejection, TrustError
from protos.lanai.v1alpha.gateway_pb2 import FetchResponse


@pytest.fixture
def checkpoints(cloud, tmp_path) -> CheckpointStore:
    return CheckpointStore.of(cloud.root, tmp_path / "checkpoints")


@pytest.fixture
def steady() -> list[float]:
    """The steady clock's time, in a list so that a test can move it."""
    return [0.0]


@pytest.fixture
def roster(cloud, plain, checkpoints, steady) -> Roster:
    return Roster(
        cloud.root,
        plain(cloud),
        checkpoints,
        clock=lambda: float(cloud.world.now),
        monotonic=lambda: steady[0],
    )


def counted(cloud: InMemoryCloud) -> list[bytes]:
    """What is fetched from now on."""
    fetch, fetched = cloud.fetch, []

    async def counting(payload: bytes) -> bytes:
        fetched.append(payload)
        return await fetch(payload)

    cloud.fetch = counting
    return fetched


async def test_verified_nodes_are_used_and_kept(cloud, roster, steady) -> None:
    """One fetch serves until it is old; a forgotten roster is fetched again."""
    fetched = counted(cloud)
    nodes = await roster.fresh()
    assert {node.node_id for node in nodes} == {node.key.node_id for node in cloud.nodes}
    assert await roster.fresh() == nodes
    assert len(fetched) == 1
    steady[0] += MAX_AGE_S + 1
    await roster.fresh()
    roster.forget()
    await roster.fresh()
    assert len(fetched) == 3


async def test_expired_nodes_are_not_used(cloud, roster) -> None:
    """Keys that expired since the fetch are gone; new bundles are fetched in their place."""
    (first, *_) = await roster.fresh()
    cloud.world.now = first.expires_at
    assert roster.nodes == ()
    with pytest.raises(TrustError) as caught:
        await roster.fresh()
    assert caught.value.reason is Rejection.EXPIRED
    cloud.announce()
    assert len(await roster.fresh()) == 3


async def test_a_bad_bundle_is_dropped_and_counted(cloud, roster) -> None:
    """One node that lies does not keep the others from being used."""
    cloud.bundles[0].evidence[0].payload = b"\x00" * 64
    cloud.bundles[1].hpke_public_key = b"short"
    nodes = await roster.fresh()
    assert [node.node_id for node in nodes] == [cloud.nodes[2].key.node_id]
    assert sum(roster.rejections.values()) == 2
    assert roster.refusal is None


async def test_the_status_names_the_weights_that_all_nodes_serve(roster) -> None:
    """As their verified releases do; nothing where they differ, since any may answer."""
    (first, *rest) = await roster.fresh()
    status = status_of([first, *rest], None, 1, Counts())
    assert (status.weights, status.model) == (first.weights, first.model)
    assert len(first.weights) == 64
    other = SimpleNamespace(model="other", weights="f" * 64, context_tokens=9)
    mixed = status_of([first, other], None, 1, Counts())
    assert (mixed.weights, mixed.model, mixed.verified_nodes) == (None, None, 2)


async def test_when_no_node_is_acceptable_nothing_is_sent(cloud, client, asked) -> None:
    """``open`` raises the reason, ``status`` says it, and no exchange is started."""
    for bundle in cloud.bundles:
        bundle.evidence[0].payload = b"\x00" * 64
    with pytest.raises(TrustError) as caught:
        async with client.open(asked, deadline_s=10):
            pass
    assert caught.value.exit_code == 10
    status = await client.status()
    assert caught.value.reason.value in status.reason.split()
    assert (status.reachable, status.verified_nodes) == (True, 0)
    assert (cloud.bodies, cloud.spent, cloud.issued) == ([], set(), 0)


async def test_an_empty_cluster_and_an_unreachable_one(cloud, client, asked) -> None:
    """Neither is a matter of trust; the status tells them apart."""
    cloud.bundles = []
    with pytest.raises(CloudUnavailable):
        async with client.open(asked, deadline_s=10):
            pass
    assert (await client.status()).reachable
    cloud.script.unreachable = True
    status = await client.status()
    assert (status.configured, status.reachable, status.verified_nodes) == (True, False, 0)
    assert status.reason
    assert status.hint


async def test_noise_instead_of_a_roster(cloud, roster) -> None:
    """An answer of another kind, or none at all, is an unavailable cloud."""
    for noise in (b"\xff\xff", b"", FetchResponse(consistency={}).SerializeToString()):

        async def fetch(payload: bytes, noise: bytes = noise) -> bytes:
            return noise

        cloud.fetch = fetch
        with pytest.raises(CloudUnavailable):
            await roster.fresh()


async def test_the_newest_checkpoint_is_kept_and_continued(cloud, roster, checkpoints) -> None:
    """When the log grew, the proof is fetched once for all nodes, and the checkpoint advances."""
    await roster.fresh()
    assert checkpoints.newest().size == 1
    for number in range(5):
        cloud.world.append(b"another release %d" % number)
    cloud.announce()
    fetched = counted(cloud)
    await roster.refresh()
    assert len(roster.nodes) == 3
    assert checkpoints.newest().size == 6
    assert len(fetched) == 2  # the roster, and one proof


async def test_an_older_checkpoint_of_the_same_log_is_accepted(cloud, roster, checkpoints) -> None:
    """A node that was announced before the log grew stays good, and takes nothing back."""
    old = list(cloud.bundles)
    cloud.world.append(b"another release")
    cloud.announce()
    await roster.refresh()
    cloud.bundles = old
    await roster.refresh()
    assert len(roster.nodes) == 3
    assert checkpoints.newest().size == 2


async def test_another_history_is_refused(cloud, roster, checkpoints) -> None:
    """A log that does not continue what was seen, though signed, gives no node."""
    forked = checkpoints.newest
    cloud.world.append(b"another release")
    cloud.announce()
    await roster.refresh()
    seen = forked()
    # The device remembers a root that this log never had.
    other = InMemoryCloud(nodes=0, issuer=cloud.issuer)
    other.world.append(b"one history")
    other.world.append(b"of its own")
    wrong = type(seen)(origin=seen.origin, size=seen.size, root=other.world.tree.root())
    folder = checkpoints._path
    folder.unlink()
    checkpoints.advance(wrong)
    cloud.announce()
    with pytest.raises(LogRejected) as caught:
        await Roster(cloud.root, cloud, checkpoints, clock=lambda: float(cloud.world.now)).fresh()
    assert caught.value.reason is Rejection.SPLIT_VIEW
    assert checkpoints.newest().root == wrong.root


async def test_without_a_proof_a_grown_log_is_refused(cloud, roster) -> None:
    """The relay cannot skip the consistency proof by giving an empty one."""
    await roster.fresh()
    cloud.world.append(b"another release")
    cloud.announce()
    fetch = cloud.fetch

    async def without_proof(payload: bytes) -> bytes:
        response = FetchResponse.FromString(await fetch(payload))
        if response.HasField("consistency"):
            response.consistency.ClearField("hashes")
        return response.SerializeToString()

    cloud.fetch = without_proof
    await roster.refresh()
    assert roster.nodes == ()
    assert roster.refusal.reason is Rejection.CONSISTENCY


async def test_k_nodes_are_picked_at_random(cloud, tmp_path, asked) -> None:
    """Requests go to K of the verified nodes, not always the same, never more than there are."""
    client = cloud.client(tmp_path, seal_to_nodes=2, seed=1)
    picked = set()
    for _ in range(8):
        async with client.open(asked, deadline_s=10) as stream:
            assert len(stream.disclosure.nodes) == 2
            picked.add(stream.disclosure.nodes)
    assert len(picked) > 1
    many = cloud.client(tmp_path, seal_to_nodes=16)
    async with many.open(asked, deadline_s=10) as stream:
        assert len(stream.disclosure.nodes) == 3
