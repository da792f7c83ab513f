"""What the store keeps through kills, other processes, damage, and a network that is gone."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lanai.errors import CloudUnavailable, Rejection, StoreError, TrustRootRejected
from trust.updates import FolderSource, TrustState

HOUR = 3600
DAY = 24 * HOUR

CHILD = """
import asyncio, signal, sys
from pathlib import Path
from trust.updates import FolderSource, TrustRootStore

folder, tree, now, where = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]

def hang():
    print("here", flush=True)
    signal.pause()

class Hanging(FolderSource):
    async def read(self, path, limit):
        if where in path:
            hang()
        return await super().read(path, limit)

if where == "rename":
    Path.replace = lambda self, target: hang()
asyncio.run(TrustRootStore(folder, clock=lambda: now).update(Hanging(tree)))
"""


class Unreachable:
    """No network."""

    async def read(self, path: str, limit: int) -> bytes | None:
        raise CloudUnavailable("no relay")


def write_tree(folder: Path, files: dict[str, bytes]) -> FolderSource:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return FolderSource(folder)


def run_until_killed(arguments: list[str]) -> None:
    """Start an update in a process of its own, and kill it where it says that it is."""
    command = [sys.executable, "-c", CHILD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"here\n"
        os.kill(child.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "where", ["3.root", "timestamp", "2.snapshot", "2.targets", "targets/", "rename"]
)
async def test_kill_in_the_middle(tmp_path, device, repository, other_root, where) -> None:
    """Killed at any step, the store is whole: it fails closed or serves, and the next update ends.

    It was killed after new root metadata, which took the old trust root's keys back: the old one is
    not used any more, except when nothing of it was written yet.
    """
    repository.rotate({"root": (2, 3), "timestamp": (1, 1)})
    repository.publish(other_root)
    source = write_tree(tmp_path / "tree", repository.files)
    arguments = [str(device.folder), str(tmp_path / "tree"), str(device.now), where]
    run_until_killed(arguments)
    if where == "rename":
        assert device.store.current() == repository.trust_root
    else:
        with pytest.raises(TrustRootRejected):
            device.store.current()
    assert device.store.state().trust_root is not None
    assert await device.store.update(source) == other_root
    assert sorted(path.name for path in device.folder.glob("[!.]*")) == ["state.json"]


async def test_two_updates_at_once(device, repository, other_root) -> None:
    """Whoever comes second starts again from what the first one wrote; both end with it."""
    repository.publish(other_root)
    found = await asyncio.gather(*(device.store.update(repository) for _ in range(4)))
    assert set(found) == {other_root}


async def test_a_newer_state_is_never_overwritten(device, repository, other_root) -> None:
    """An update that was overtaken while it waited for the network keeps the newer state."""

    class Overtaken:
        done = False

        async def read(self, path: str, limit: int) -> bytes | None:
            if path == "timestamp.json" and not self.done:
                self.done = True
                old = repository.files[path]
                repository.publish(other_root)
                await device.store.update(repository)
                return old
            return await repository.read(path, limit)

    device.now += 1
    assert await device.store.update(Overtaken()) == other_root
    assert device.store.state().timestamp == repository.files["timestamp.json"]


async def test_offline(device, repository, trust_root) -> None:
    """Without network the last trust root serves until its metadata expires, and not longer."""
    with pytest.raises(CloudUnavailable):
        await device.store.update(Unreachable())
    device.now += DAY - 1
    assert device.store.current() == trust_root
    device.now += 1
    with pytest.raises(TrustRootRejected) as caught:
        device.store.current()
    assert caught.value.reason is Rejection.FREEZE
    assert "lanai trust update" in caught.value.hint


async def test_a_new_root_voids_the_old_trust_root(device, repository) -> None:
    """New root metadata may have taken keys back: nothing signed by them is used meanwhile."""
    repository.rotate({"targets": (1, 1)})
    with pytest.raises(TrustRootRejected):
        await device.store.update(repository)
    with pytest.raises(TrustRootRejected):
        device.store.current()
    repository.publish()
    assert await device.store.update(repository) == repository.trust_root


async def test_when_an_update_is_due(device, repository) -> None:
    """After an hour, at half of what is left when that is sooner, or when the clock went back."""
    for later, due in ((0, False), (HOUR - 1, False), (HOUR, True), (-1, True)):
        device.now = repository.now + later
        assert device.store.is_due() is due
    device.now = repository.now + DAY - 600
    await device.store.update(repository)
    for later, due in ((299, False), (300, True)):
        device.now = repository.now + DAY - 600 + later
        assert device.store.is_due() is due


async def test_the_file_is_private(device) -> None:
    """Mode 0600, in a folder of mode 0700."""
    assert stat.S_IMODE(device.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(device.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data.replace(b"lanai.trust-state/1", b"lanai.trust-state/2"),
        lambda data: data.replace(b'"expires_at": ', b'"expires_at": "1", "later": '),
        lambda data: data.replace(b'"pinned": "', b'"pinned": "\\ud800'),
    ],
)
async def test_a_damaged_file(device, repository, damage) -> None:
    """It is an error with a hint; it is not started over, which would forget what was seen."""
    device.path.write_bytes(damage(device.path.read_bytes()))
    before = device.path.read_bytes()
    for call in (device.store.current, device.store.is_due):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.hint
    with pytest.raises(StoreError):
        await device.store.update(repository)
    assert device.path.read_bytes() == before


async def test_the_file_form(device) -> None:
    """What is written is what is read, and metadata in it can be read by a person."""
    state = device.store.state()
    assert TrustState.from_bytes(state.to_bytes()) == state
    assert json.loads(json.loads(device.path.read_text())["root"])["signed"]["version"] == 1


async def test_no_enrolment(tmp_path, device, repository) -> None:
    """Nothing is current or due, and an update says what to do; `forget` leads back to that."""
    device.store.forget()
    assert device.store.current() is None
    assert not device.store.is_due()
    with pytest.raises(StoreError) as caught:
        await device.store.update(repository)
    assert "lanai trust enrol" in caught.value.hint
    device.store.forget()


async def test_a_folder_is_not_left(tmp_path) -> None:
    """A source of local files reads those of a repository and no other."""
    for path in ("../secret.json", "/etc/passwd", "targets/../1.root.json", "a/b.json"):
        with pytest.raises(StoreError):
            await FolderSource(tmp_path).read(path, 10)
    assert await FolderSource(tmp_path).read("1.root.json", 10) is None


def test_importing_is_light() -> None:
    """tuf is loaded by an enrolment or an update, not by the import or by reading the state."""
    code = "import sys, trust.updates; sys.exit('tuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
