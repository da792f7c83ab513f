"""Tokens lost and nodes seen outlive the process, and hold nothing of any request."""

import asyncio
import json
from dataclasses import replace

import pytest

from device_agent.cloud.tally import REMEMBER_S, Counts, Tally
from device_agent.testing import InMemoryCloud
from lanai.errors import CloudError, EnvelopeRejected, LanaiError, RefusalCode, StoreError

NOW = 1_700_000_000


@pytest.fixture
def tally(cloud: InMemoryCloud, tmp_path) -> Tally:
    """The one that the cloud's client writes."""
    return Tally.of(cloud.root, tmp_path / "tally.json")


async def failing(client, asked) -> None:
    with pytest.raises(LanaiError):
        async with client.open(asked, deadline_s=10):
            pass


async def test_lost_tokens_are_counted_over_processes(cloud, tmp_path, asked, tally) -> None:
    """Each client adds to the same count, and its status tells the sum."""
    for expected in (2, 4):
        cloud.script.refusals = [RefusalCode.BUSY, RefusalCode.BUSY]
        client = cloud.client(tmp_path)
        await failing(client, asked)
        assert (await client.status()).tokens_lost == expected
        await client.close()
    assert tally.counts().tokens_lost == 4


async def test_an_answer_that_broke_off_is_no_lost_token(cloud, client, asked, tally) -> None:
    """The node ran and began to answer: the token was spent for that."""
    cloud.script.cut_after = 2
    async with client.open(asked, deadline_s=10) as stream:
        with pytest.raises(CloudError):
            _ = [piece async for piece in stream]
    assert (client.tokens_lost, tally.counts().tokens_lost) == (0, 0)


async def test_a_token_lost_on_the_device_is_counted(
    cloud, client, asked, tally, monkeypatch
) -> None:
    """Also when it left the wallet and the sealing failed."""

    def refuse(*_: object, **__: object) -> None:
        raise EnvelopeRejected("no", reason="malformed")

    monkeypatch.setattr("device_agent.cloud.client.seal_request", refuse)
    await failing(client, asked)
    assert (client.tokens_lost, tally.counts().tokens_lost) == (1, 1)
    assert (cloud.bodies, cloud.spent) == ([], set())


async def test_a_token_lost_to_a_cancelled_request_is_counted(cloud, client, asked, tally) -> None:
    """Whoever gives up before the first frame has paid."""
    sent = asyncio.Event()

    async def silent(frames):
        _ = [frame async for frame in frames]
        sent.set()
        await asyncio.Event().wait()
        yield b""

    cloud.exchange = silent
    task = asyncio.create_task(failing(client, asked))
    await asyncio.wait_for(sent.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tally.counts().tokens_lost == 1


async def test_a_count_that_cannot_be_written_hides_no_error(
    cloud, client, asked, tmp_path
) -> None:
    """The user hears why the request failed; the status says that the counts are damaged."""
    (tmp_path / "tally.json").write_text("damaged")
    cloud.script.refusals = [RefusalCode.BAD_REQUEST]
    with pytest.raises(CloudError):
        async with client.open(asked, deadline_s=10):
            pass
    assert "damaged" in (await client.status()).reason


def test_another_cluster_counts_anew(cloud, tmp_path, tally) -> None:
    """Counts are of one log; a new enrolment with another starts from nothing."""
    tally.saw(5, now=NOW)
    tally.lost(3)
    other = InMemoryCloud(nodes=0, issuer=cloud.issuer).root
    assert Tally.of(other, tmp_path / "tally.json").counts() == Counts()
    same = replace(cloud.root, quorum=1)  # a newer root of the same cluster
    assert Tally.of(same, tmp_path / "tally.json").counts().tokens_lost == 3
    assert Tally(tmp_path / "tally.json", cluster=None).counts().tokens_lost == 3


def test_the_largest_roster_is_remembered_for_some_days(tally) -> None:
    """Fewer nodes change nothing until the mark is old; then the cluster is as small as it is."""
    tally.saw(5, now=NOW)
    tally.saw(2, now=NOW + REMEMBER_S)
    assert tally.counts().most_nodes == 5
    tally.saw(2, now=NOW + REMEMBER_S + 1)
    assert tally.counts().most_nodes == 2
    tally.saw(3, now=NOW + REMEMBER_S + 2)
    assert tally.counts().most_nodes == 3


def test_the_file_holds_counts_only(tally, tmp_path) -> None:
    """Private, and no name of a node, token or request."""
    tally.saw(2, now=NOW)
    tally.lost()
    path = tmp_path / "tally.json"
    assert path.stat().st_mode & 0o777 == 0o600
    values = json.loads(path.read_text())
    assert set(values) == {"schema", "cluster", "tokens_lost", "most_nodes", "most_at"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "lanai.tally/1"}', "null", '{"schema":"lanai.tally/1",'
     '"cluster":"a","tokens_lost":-1,"most_nodes":0,"most_at":0}', '{"schema":"lanai.tally/1",'
     '"cluster":"a","tokens_lost":"many","most_nodes":0,"most_at":0}', "x" * 5000],
)  # fmt: skip
def test_a_damaged_tally_is_an_error(tally, tmp_path, text) -> None:
    """It is neither believed nor started over."""
    (tmp_path / "tally.json").write_text(text)
    with pytest.raises(StoreError):
        tally.counts()
