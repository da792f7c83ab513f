"""The nodes of a request are drawn fairly, fetched ahead of time, and a smaller roster shows."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import combinations
from random import Random

import pytest

from device_agent.cloud import CheckpointStore, CloudClient
from device_agent.cloud.choice import draw
from device_agent.cloud.roster import IDLE_S, PREFETCH_S, Roster
from device_agent.testing import InMemoryCloud
from lanai.errors import CloudUnavailable
from trust.verification import VerifiedNode

DRAWS = 6000


@pytest.fixture
def steady() -> list[float]:
    """The steady clock's time, in a list so that a test can move it."""
    return [0.0]


@pytest.fixture
def ticks() -> asyncio.Queue[None]:
    """One item for each sleep that shall end."""
    return asyncio.Queue()


@pytest.fixture
def fetched() -> list[bytes]:
    return []


@pytest.fixture
async def roster(cloud: InMemoryCloud, plain, tmp_path, steady, ticks, fetched):
    fetch = plain(cloud).fetch

    async def counting(payload: bytes) -> bytes:
        fetched.append(payload)
        return await fetch(payload)

    async def sleep(seconds: float) -> None:
        assert seconds == PREFETCH_S
        await ticks.get()

    cloud.fetch = counting
    made = Roster(
        cloud.root,
        cloud,
        CheckpointStore.of(cloud.root, tmp_path / "checkpoints"),
        clock=lambda: float(cloud.world.now),
        monotonic=lambda: steady[0],
        sleep=sleep,
    )
    yield made
    await made.close()


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def verified(cloud: InMemoryCloud, tmp_path) -> tuple[VerifiedNode, ...]:
    roster = Roster(
        cloud.root,
        cloud,
        CheckpointStore.of(cloud.root, tmp_path / "checkpoints"),
        clock=lambda: float(cloud.world.now),
    )
    await roster.refresh()
    return roster.nodes


def chi_square(counts: Counter, cells: int) -> float:
    expected = sum(counts.values()) / cells
    missing = (cells - len(counts)) * expected
    return missing + sum((count - expected) ** 2 / expected for count in counts.values())


async def test_every_set_of_k_is_as_likely(issuer, plain, tmp_path) -> None:
    """The relay's order of nodes gives none of them a better chance, nor any pair of them."""
    cloud = plain(InMemoryCloud(nodes=5, issuer=issuer))
    nodes, random = await verified(cloud, tmp_path), Random(1)
    pairs = Counter(
        frozenset(node.node_id for node in draw(nodes, 2, until=0, random=random))
        for _ in range(DRAWS)
    )
    # 9 degrees of freedom: above 27.9 in one of a thousand fair runs; this one is always the same.
    assert chi_square(pairs, len(list(combinations(range(5), 2)))) < 27.9


async def test_a_node_shown_often_is_drawn_as_often_as_any(issuer, plain, tmp_path) -> None:
    """A relay that shows one node under many of its bundles wins it no larger share."""
    cloud = plain(InMemoryCloud(nodes=4, issuer=issuer))
    favourite = cloud.nodes[0].key.node_id
    shown = list(cloud.bundles)
    for number in range(20):
        cloud.world.append(b"another release %d" % number)
        cloud.announce()
        shown += cloud.bundles[:1]
    cloud.bundles = shown
    nodes, random = await verified(cloud, tmp_path), Random(2)
    assert len(nodes) == 4
    first = Counter(draw(nodes, 1, until=0, random=random)[0].node_id for _ in range(DRAWS))
    assert chi_square(first, 4) < 16.3  # 3 degrees of freedom, one of a thousand
    assert abs(first[favourite] / DRAWS - 1 / 4) < 0.02


async def test_of_one_nodes_bundles_the_newest_counts(cloud, roster) -> None:
    """Under the newest checkpoint, wherever it stands in the roster."""
    old = list(cloud.bundles)
    cloud.world.append(b"another release")
    cloud.announce()
    cloud.bundles = [*cloud.bundles, *old]
    nodes = await roster.fresh()
    assert [node.checkpoint.size for node in nodes] == [2, 2, 2]


async def test_nodes_that_outlive_the_request_are_preferred(cloud, plain, tmp_path) -> None:
    """A node whose keys end before the request may is drawn only when there is no other."""
    world, nodes = cloud.world, cloud.nodes
    short = world.bundle(nodes[0].key.public_key, tls=nodes[0].tls, lifetime_s=30)
    cloud.bundles = [short.to_proto(), *cloud.bundles[1:]]
    found = await verified(plain(cloud), tmp_path)
    assert len(found) == 3
    drawn = draw(found, 3, until=world.now + 60, random=Random(3))
    assert short.node_id not in {node.node_id for node in drawn}
    assert len(drawn) == 2
    only = [node for node in found if node.node_id == short.node_id]
    assert draw(only, 3, until=world.now + 60, random=Random(3)) == only


async def test_the_roster_is_fetched_before_it_is_old(roster, steady, ticks, fetched) -> None:
    """While requests are made, somebody fetches in the background; no request waits."""
    await roster.fresh()
    for number in range(2, 5):
        steady[0] += PREFETCH_S
        ticks.put_nowait(None)
        await until(lambda number=number: len(fetched) == number)
        await roster.fresh()
        assert len(fetched) == number


async def test_an_idle_device_is_silent(roster, steady, ticks, fetched) -> None:
    """Without a request nothing more is fetched; the next request starts it again."""
    await roster.fresh()
    steady[0] += IDLE_S + 1
    ticks.put_nowait(None)
    await until(lambda: roster._keeper.done())
    assert len(fetched) == 1
    await roster.fresh()
    assert not roster._keeper.done()
    assert len(fetched) == 2


async def test_a_failed_prefetch_is_nobodys_error(cloud, roster, steady, ticks) -> None:
    """What is there serves on while it is recent; once it is old, the failure is reported."""
    nodes = await roster.fresh()
    cloud.script.unreachable = True
    ticks.put_nowait(None)
    await until(ticks.empty)
    assert await roster.fresh() == nodes
    steady[0] += 1000
    with pytest.raises(CloudUnavailable):
        await roster.fresh()


async def test_many_requests_fetch_once(roster, fetched) -> None:
    """Whoever waited for somebody else's fetch does not fetch again."""
    await asyncio.gather(*(roster.fresh() for _ in range(8)))
    assert len(fetched) == 1


async def test_closing_ends_the_fetching(roster) -> None:
    """No task is left behind."""
    await roster.fresh()
    keeper = roster._keeper
    await roster.close()
    await roster.close()
    assert keeper.done()


@asynccontextmanager
async def closing(client: CloudClient) -> AsyncIterator[CloudClient]:
    yield client
    await client.close()


async def test_a_roster_cut_down_to_one_node_shows(cloud: InMemoryCloud, tmp_path, asked) -> None:
    """One node of the relay's choosing is verified, and the status says that there were more."""
    async with closing(cloud.client(tmp_path)) as client:
        assert (await client.status()).reason == "ready, 3 verified nodes"
    cloud.bundles = cloud.bundles[2:]
    async with closing(cloud.client(tmp_path)) as client:  # as another process would
        status = await client.status()
    assert (status.verified_nodes, status.most_nodes) == (1, 3)
    assert status.reason == "ready, 1 verified node, fewer than the 3 seen before"
