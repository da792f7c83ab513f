"""The operator's side of the trust root, seen by a device: publish, refresh, rotate, recover."""

import asyncio
import json
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloud_node.events import Component, EventLog
from cloud_node.trust_refresh import TrustRefresh, refresh_trust
from cloud_node.trust_repository import ROLES, TrustRepository
from cloud_node.trust_repository.repository import LIFETIMES_S
from lanai.errors import ConfigError, Rejection, TrustRootRejected
from trust.public_tree import MAX_RELAYED_BYTES, public_file
from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld
from trust.updates import FolderSource, TrustRootStore

NOW = 1_800_000_000
DAY = 24 * 3600


@dataclass
class Operator:
    """A repository, its clock, and a device enrolled with it."""

    folder: Path
    now: float = NOW

    @property
    def tree(self) -> Path:
        return self.folder / "public" / "tuf"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def repository(self) -> TrustRepository:
        return TrustRepository(self.tree, self.keys, clock=lambda: self.now)

    @property
    def store(self) -> TrustRootStore:
        return TrustRootStore(self.folder / "device", clock=lambda: self.now)

    @property
    def source(self) -> FolderSource:
        return FolderSource(self.tree)

    async def enrol(self) -> None:
        await self.store.enrol((self.tree / "1.root.json").read_bytes(), self.source)

    async def update(self) -> TrustRoot:
        return await self.store.update(self.source)

    def files(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.tree.glob(pattern))


@pytest.fixture(scope="session")
def root() -> TrustRoot:
    return UnsafeTrustWorld(now=NOW).root


@pytest.fixture
def other(root: TrustRoot) -> TrustRoot:
    return replace(root, quorum=1)


@pytest.fixture
async def operator(tmp_path: Path, root: TrustRoot) -> Operator:
    operator = Operator(tmp_path)
    operator.repository.publish(root)
    await operator.enrol()
    return operator


async def test_publish(operator, root, other) -> None:
    """What is published last is what a device updates to."""
    assert operator.store.current() == root
    operator.repository.publish(other)
    assert await operator.update() == other
    assert operator.files("*.targets.json") == ["1.targets.json", "2.targets.json"]


async def test_keys_are_private_files_of_their_own(operator) -> None:
    """As many as each role has, each alone in a file of mode 0600."""
    for role, (_, count) in ROLES.items():
        paths = list(operator.keys.glob(f"{role}-*.pem"))
        assert len(paths) == count
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


async def test_every_file_is_one_the_public_tree_serves(operator) -> None:
    """Names and sizes are those that any server of the tree lets through."""
    operator.repository.rotate(["root"])
    for path in operator.tree.rglob("*.json"):
        file = public_file("tuf/" + str(path.relative_to(operator.tree)))
        assert file is not None
        assert file.immutable == (path.name != "timestamp.json")
        assert path.stat().st_size < MAX_RELAYED_BYTES


@pytest.mark.parametrize("roles", [[], ["root"], ["targets"], ["snapshot", "timestamp"], [*ROLES]])
async def test_rotate(operator, root, other, roles) -> None:
    """New keys for any roles; the device that knows the first root only follows."""
    before = {role: operator.keys.glob(f"{role}-*.pem") for role in ROLES}
    names = {role: {path.name for path in paths} for role, paths in before.items()}
    assert operator.repository.rotate(roles) == 2
    for role, (_, count) in ROLES.items():
        now = {path.name for path in operator.keys.glob(f"{role}-*.pem")}
        assert len(now) == count
        assert now.isdisjoint(names[role]) is (role in roles)
    assert await operator.update() == root
    operator.repository.publish(other)
    assert await operator.update() == other


async def test_a_device_sleeps_through_several_rotations(operator, root) -> None:
    """Every root since the enrolment is kept, so the way from the first to the last is there."""
    for roles in (["root"], [*ROLES], ["root", "timestamp"], [*ROLES]):
        operator.now += 30 * DAY
        operator.repository.rotate(roles)
    assert await operator.update() == root
    assert operator.files("*.root.json")[-1] == "5.root.json"


async def test_refresh_keeps_devices_believing(operator, root) -> None:
    """An hour before the timestamp ends a new one is there; without it the device stops."""
    operator.now += DAY - 3600
    operator.repository.refresh()
    operator.now += 3600
    assert await operator.update() == root
    operator.now += DAY
    with pytest.raises(TrustRootRejected) as caught:
        await operator.update()
    assert caught.value.reason is Rejection.FREEZE


async def test_refresh_signs_no_more_than_is_due(operator) -> None:
    """A timestamp each time; the others at half of their lives, and never a root without need."""
    operator.repository.refresh()
    assert operator.files("*.snapshot.json") == ["1.snapshot.json"]
    for role in ("snapshot", "targets", "root"):
        operator.now = NOW + LIFETIMES_S[role] / 2 + 1
        operator.repository.refresh()
        assert operator.repository.expires_at()[role] == int(operator.now) + LIFETIMES_S[role]


async def test_refresh_without_the_keys_that_are_kept_elsewhere(operator, root) -> None:
    """Root and targets keys carried away: timestamp and snapshot are signed all the same."""
    for role in ("root", "targets"):
        for path in operator.keys.glob(f"{role}-*.pem"):
            path.unlink()
    operator.now += 60 * DAY
    operator.repository.refresh()
    assert await operator.update() == root


@pytest.mark.parametrize("role", ["root", "targets"])
async def test_below_the_threshold_nothing_is_signed(operator, other, role) -> None:
    """One of two keys that it takes: refused, and what is public stays as it was."""
    for path in list(operator.keys.glob(f"{role}-*.pem"))[1:]:
        path.unlink()
    before = sorted(operator.tree.glob("*.json"))
    calls = {
        "root": lambda: operator.repository.rotate(["root"]),
        "targets": lambda: operator.repository.publish(other),
    }
    with pytest.raises(ConfigError) as caught:
        calls[role]()
    assert "2 keys, 1 are here" in caught.value.message
    assert sorted(operator.tree.glob("*.json")) == before


async def test_two_of_three_keys_are_enough(operator, other) -> None:
    """One key of each lost: publication and rotation go on, and the rotation makes three again."""
    for role in ("root", "targets"):
        next(operator.keys.glob(f"{role}-*.pem")).unlink()
    operator.repository.rotate(["root", "targets"])
    operator.repository.publish(other)
    assert await operator.update() == other
    assert len(list(operator.keys.glob("root-*.pem"))) == 3


async def test_a_rotation_that_was_killed(operator, root, monkeypatch) -> None:
    """New root metadata without anything signed by the new keys: the next refresh makes it whole.

    Killed earlier, before the root was written, it leaves keys that count nowhere.
    """

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrustRepository, "_sign_below", kill)
        with pytest.raises(Killed):
            operator.repository.rotate([*ROLES])
    with pytest.raises(TrustRootRejected) as caught:
        await operator.update()
    assert caught.value.reason is Rejection.SIGNATURE
    operator.repository.refresh()
    assert await operator.update() == root
    with monkeypatch.context() as patch:
        patch.setattr("cloud_node.trust_repository.tree.write_durably", kill)
        with pytest.raises(Killed):
            operator.repository.rotate(["timestamp"])
    operator.repository.refresh()
    assert await operator.update() == root
    operator.repository.rotate(["timestamp"])
    assert len(list(operator.keys.glob("timestamp-*.pem"))) == 1
    assert await operator.update() == root


async def test_a_version_is_never_used_twice(operator, root, other, monkeypatch) -> None:
    """Metadata that no timestamp came to name is passed over, not written anew."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrustRepository, "_sign_timestamp", kill)
        with pytest.raises(Killed):
            operator.repository.publish(other)
    orphan = (operator.tree / "2.targets.json").read_bytes()
    assert await operator.update() == root
    operator.repository.publish(other)
    assert (operator.tree / "2.targets.json").read_bytes() == orphan
    assert await operator.update() == other


async def test_two_writers_at_once(operator, root) -> None:
    """A refresh beside rotations: one after the other, and the device follows."""
    calls = [operator.repository.refresh] * 4 + [lambda: operator.repository.rotate(["timestamp"])]
    await asyncio.gather(*(asyncio.to_thread(call) for call in calls))
    assert await operator.update() == root


def test_no_repository(tmp_path) -> None:
    """A folder without one, or with a damaged one, is an error with a hint."""
    operator = Operator(tmp_path)
    for call in (operator.repository.refresh, operator.repository.rotate):
        with pytest.raises(ConfigError) as caught:
            call()
        assert caught.value.hint
    with pytest.raises(ConfigError):
        operator.repository.rotate(["mirrors"])


async def test_a_damaged_tree(operator) -> None:
    """What does not parse is not continued."""
    (operator.tree / "1.snapshot.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        operator.repository.refresh()
    assert "1.snapshot.json" in caught.value.message


async def test_the_refreshing_task(operator, root, tmp_path) -> None:
    """It signs at once and goes on after a failure; both are events."""
    written = tmp_path / "events"
    with written.open("w") as stream:
        events = EventLog(Component.LOG, stream=stream)
        config = TrustRefresh(tree=operator.tree, keys=operator.keys, interval_s=0.001)
        before = (operator.tree / "timestamp.json").read_bytes()
        task = asyncio.create_task(refresh_trust(config, events))
        while (operator.tree / "timestamp.json").read_bytes() == before:
            await asyncio.sleep(0)
        (operator.tree / "1.snapshot.json").write_text("{")
        while b'"failed"' not in written.read_bytes():
            stream.flush()
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    said = [json.loads(line)["event"] for line in written.read_text().splitlines()]
    assert {"trust_signed", "failed"} <= set(said)
