"""When the trust root is updated, what that costs a request, and what an update changes."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloud_node.trust_repository import TrustRepository
from device_agent.cloud import CloudClient, UpdatingCloud
from device_agent.cloud.relay_files import RelayFiles
from device_agent.testing import FakeAgent, InMemoryCloud
from device_agent.testing.gateway import SealedGateway
from lanai.errors import CloudUnavailable, EvidenceRejected, Rejection, TrustRootRejected
from router.vocabulary import Destination, Reason
from trust.attestation import One
from trust.attestation.unsafe_software import UnsafeSoftwarePolicy
from trust.root import TrustRoot
from trust.updates import FolderSource, TrustRootStore

HOUR = 3600
DAY = 24 * HOUR


@dataclass
class Enrolled:
    """A device enrolled with the cloud in memory, and the operator's repository."""

    cloud: InMemoryCloud
    folder: Path
    steady: float = 0.0

    def __post_init__(self) -> None:
        self.tree = self.folder / "tuf"
        self.repository = TrustRepository(self.tree, self.folder / "keys", clock=self.now)
        self.repository.publish(self.cloud.root)
        self.store = TrustRootStore(self.folder / "trust", clock=self.now)
        self.made: list[tuple[TrustRoot, CloudClient]] = []
        self.asked_relays: list[TrustRoot] = []

    def now(self) -> float:
        return float(self.cloud.world.now)

    def serve(self) -> None:
        """The cluster serves what the repository published."""
        paths = [path for path in self.tree.rglob("*.json") if path.is_file()]
        self.cloud.files = {f"tuf/{p.relative_to(self.tree)}": p.read_bytes() for p in paths}

    def publish(self, **changes: object) -> TrustRoot:
        root = replace(self.cloud.root, **changes)
        self.repository.publish(root)
        self.serve()
        return root

    def later(self, seconds: int) -> None:
        """The time passes; the cloud's nodes and log stay alive and fresh."""
        self.cloud.world.now += seconds
        self.steady += seconds
        for node in self.cloud.nodes:
            node.tls = None
        self.cloud.announce()
        self.cloud.gateway = SealedGateway(self.cloud.world, self.cloud.issuer.spki)

    async def open(self) -> UpdatingCloud:
        """A process of this device."""
        await self.store.enrol((self.tree / "1.root.json").read_bytes(), FolderSource(self.tree))
        self.serve()
        return self.process()

    def process(self) -> UpdatingCloud:
        state = self.store.state()
        return UpdatingCloud(
            self.store,
            state,
            self.make(state.trust_root),
            make=self.make,
            source=self.source,
            clock=self.now,
            monotonic=lambda: self.steady,
        )

    def make(self, root: TrustRoot) -> CloudClient:
        root.admit("development")
        self.cloud.root = root
        client = self.cloud.client(self.folder)
        self.made.append((root, client))
        return client

    @asynccontextmanager
    async def source(self, root: TrustRoot):
        self.asked_relays.append(root)
        yield RelayFiles(self.cloud)


@pytest.fixture
def device(cloud: InMemoryCloud, tmp_path: Path) -> Enrolled:
    return Enrolled(cloud, tmp_path)


async def answer(updating: UpdatingCloud, asked) -> str:
    async with updating.open(asked, deadline_s=10) as stream:
        return "".join([piece async for piece in stream])


async def beside(updating: UpdatingCloud) -> None:
    """Wait for the update that runs beside the requests."""
    if updating._updating is not None:
        await updating._updating


async def test_a_fresh_trust_root_asks_nobody(device, asked) -> None:
    """Within the hour after an update the first use sends its request and nothing else."""
    updating = await device.open()
    device.later(HOUR - 1)
    assert await answer(updating, asked) == "Hello world"
    assert device.asked_relays == []


async def test_the_first_use_updates_first(device, asked) -> None:
    """A process that begins with an hour-old trust root works under the newest from the start."""
    updating = await device.open()
    old = device.cloud.root
    new = device.publish(node_max_lifetime_s=DAY + 1)
    device.later(HOUR)
    assert await answer(updating, asked) == "Hello world"
    assert [root for root, _ in device.made] == [old, new]
    assert device.asked_relays == [old]
    assert device.store.current() == new


async def test_later_updates_run_beside(device, asked) -> None:
    """After the first use no request waits: it runs under the old root, the next under the new."""
    updating = await device.open()
    await answer(updating, asked)
    device.later(HOUR)
    await answer(updating, asked)
    await beside(updating)
    new = device.publish(node_max_lifetime_s=DAY + 1)
    device.later(HOUR)
    await answer(updating, asked)
    assert new not in [root for root, _ in device.made]
    await beside(updating)
    await answer(updating, asked)
    assert device.made[-1][0] == new
    await updating.close()


async def test_a_request_in_flight_keeps_its_client(device, asked) -> None:
    """The replaced client is closed when its last answer has ended, not before."""
    updating = await device.open()
    await answer(updating, asked)
    async with updating.open(asked, deadline_s=10) as stream:
        first = aiter(stream)
        assert await anext(first) == "Hello"
        device.publish(node_max_lifetime_s=DAY + 1)
        device.later(HOUR)
        await answer(updating, asked)
        await beside(updating)
        await answer(updating, asked)
        assert len(updating._live) == 2
        assert [piece async for piece in first] == [" world"]
    assert list(updating._live) == [device.made[-1][1]]


async def test_nobody_reached_is_no_harm_until_it_expires(device, asked) -> None:
    """Without the tree the last trust root serves on; after its expiry nothing is sent."""
    updating = await device.open()
    device.cloud.files.clear()
    device.later(HOUR)
    assert await answer(updating, asked) == "Hello world"
    device.later(23 * HOUR)
    sent = len(device.cloud.bodies)
    with pytest.raises(TrustRootRejected) as caught:
        await answer(updating, asked)
    assert caught.value.reason is Rejection.FREEZE
    assert len(device.cloud.bodies) == sent
    status = await updating.status()
    assert (status.verified_nodes, status.reason) == (0, "verification refused: freeze")


async def test_an_expired_trust_root_is_updated_through_its_relay(device, asked) -> None:
    """A device that slept for a week asks the relay it knows, and is back with the first use."""
    updating = await device.open()
    device.later(7 * DAY)
    device.repository.rotate(["root", "targets", "snapshot", "timestamp"])
    device.serve()
    assert await answer(updating, asked) == "Hello world"


async def test_a_refused_update_stops_the_cloud(device, asked) -> None:
    """Beside or before a request: what lies about the trust root is not worked with."""
    updating = await device.open()
    await answer(updating, asked)
    stale = dict(device.cloud.files)
    device.publish(node_max_lifetime_s=DAY + 1)
    device.later(HOUR)
    await answer(updating, asked)
    await beside(updating)
    device.cloud.files = {**device.cloud.files, "tuf/timestamp.json": stale["tuf/timestamp.json"]}
    device.later(HOUR)
    await answer(updating, asked)
    await beside(updating)
    for _ in range(2):
        with pytest.raises(TrustRootRejected) as caught:
            await answer(updating, asked)
        assert caught.value.reason is Rejection.ROLLBACK
    device.serve()
    assert await answer(updating, asked) == "Hello world"


async def test_a_root_that_is_not_admitted(device, asked) -> None:
    """An update to a trust root this device must not use stops the cloud, for good."""
    updating = await device.open()
    relay = replace(device.cloud.root.relay, address="192.0.2.1:443")
    device.publish(relay=relay)
    device.later(HOUR)
    for _ in range(2):
        with pytest.raises(TrustRootRejected) as caught:
            await answer(updating, asked)
        assert caught.value.reason is Rejection.NOT_LOOPBACK


async def test_requests_at_once_update_once(device, asked) -> None:
    """Of many first uses one asks; all wait for it."""
    updating = await device.open()
    device.later(HOUR)
    await asyncio.gather(*(answer(updating, asked) for _ in range(4)))
    assert len(device.asked_relays) == 1


async def test_the_relay_sees_no_path(device) -> None:
    """Which file is asked for is under the seal to the gateway."""
    await device.open()
    assert await RelayFiles(device.cloud).read("timestamp.json", 1 << 14)
    assert await RelayFiles(device.cloud).read("9.root.json", 1 << 14) is None
    assert b"timestamp" not in b"".join(device.cloud.relayed)


async def test_more_than_the_limit_is_cut_to_be_refused(device) -> None:
    """One byte more than allowed is passed on, so that the workflow sees it is too long."""
    await device.open()
    assert len(await RelayFiles(device.cloud).read("timestamp.json", 10)) == 11


async def test_an_answer_of_another_protocol(device, monkeypatch) -> None:
    """Keys or files that are not of the wire: the cloud is unavailable, no foreign error."""
    await device.open()

    async def noise() -> bytes:
        return b"\xff\xff"

    monkeypatch.setattr(device.cloud, "keys", noise)
    with pytest.raises(CloudUnavailable):
        await RelayFiles(device.cloud).read("timestamp.json", 10)


async def test_a_node_withdrawn_in_mid_session_is_not_used_again(device, tmp_path) -> None:
    """The next request under the new trust root stays here, and its reply says why.

    Nothing is sent to what was withdrawn; where the device may not answer, it is a trust error.
    """
    updating = await device.open()
    async with FakeAgent(tmp_path, ["from the device"], cloud=updating) as agent:
        session = agent.session(mode="prefer_in_cloud")
        first = await session.respond("hello")
        assert (first.source, first.fallback) == (Destination.CLOUD, None)
        device.publish(evidence=One(UnsafeSoftwarePolicy(("ab" * 32,))))
        device.later(HOUR)
        await session.respond("and now?")  # the update runs beside the first after an hour
        await beside(updating)
        sent, spent = len(device.cloud.bodies), len(device.cloud.spent)
        reply = await session.respond("and then?")
        why = (reply.source, reply.decision.reason)
        assert why == (Destination.DEVICE, Reason.CLOUD_NOT_VERIFIED)
        assert "no node of the cloud passed verification" in reply.decision.explain()
        with pytest.raises(EvidenceRejected):
            await agent.session(mode="only_in_cloud").respond("hello")
        assert (len(device.cloud.bodies), len(device.cloud.spent)) == (sent, spent)
