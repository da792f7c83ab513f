"""The reference client of TUF (python-tuf's `Updater`) as a second opinion on the same files."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from lanai.errors import TrustRootRejected


class Files(FetcherInterface):
    """The repository's files, by the end of the address."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix("memory://tuf/")
        if path not in self.files:
            raise DownloadHTTPError("none", 404)
        return iter([self.files[path]])


def reference(folder: Path, repository, bootstrap: bytes, now: float) -> bytes:
    """What the reference client makes the trust root."""
    folder.mkdir(exist_ok=True)
    updater = Updater(
        str(folder),
        "memory://tuf/",
        str(folder),
        "memory://tuf/targets/",
        Files(repository.files),
        bootstrap=bootstrap,
    )
    updater._trusted_set.reference_time = datetime.fromtimestamp(now, UTC)
    info = updater.get_targetinfo("trust-root.json")
    return Path(updater.download_target(info)).read_bytes()


async def both(tmp_path, device, repository) -> bytes | None:
    """The bytes that both clients end with; None when both refuse."""
    pinned = device.store.state().pinned
    try:
        theirs = reference(tmp_path / "reference", repository, pinned, device.now)
    except RepositoryError:
        theirs = None
    try:
        await device.store.update(repository)
        ours = device.store.state().target
    except TrustRootRejected:
        ours = None
    assert ours == theirs
    return ours


async def test_both_follow(tmp_path, device, repository, other_root) -> None:
    """Publications and rotations: the same trust root for both, from the same pinned root."""
    assert await both(tmp_path, device, repository) == repository.trust_root.to_json().encode()
    repository.publish(other_root)
    assert await both(tmp_path, device, repository) == other_root.to_json().encode()
    for roles in ({"root": (3, 4)}, {"timestamp": (2, 2), "targets": (1, 1)}, {"snapshot": (1, 2)}):
        repository.rotate(roles)
        repository.publish()
    assert await both(tmp_path, device, repository) == repository.trust_root.to_json().encode()


@pytest.mark.parametrize("attack", ["rollback", "freeze", "signature", "mix", "removed_key"])
async def test_both_refuse(tmp_path, device, repository, other_root, attack) -> None:
    """Of each kind of lie: what the reference client refuses is refused here."""
    await both(tmp_path, device, repository)
    old = dict(repository.files)
    root_keys = repository.keys["root"]
    repository.publish(other_root)
    if attack == "freeze":
        device.now += 24 * 3600
    elif attack == "signature":
        repository.rotate({"timestamp": (1, 1)})
    elif attack == "mix":
        repository.files["2.targets.json"] = old["1.targets.json"]
    elif attack == "removed_key":
        repository.rotate({"root": (2, 3)})
        repository.rotate({"root": (2, 3)}, by=root_keys)
    else:
        assert await both(tmp_path, device, repository) is not None
        repository.files["timestamp.json"] = old["timestamp.json"]
    assert await both(tmp_path, device, repository) is None
