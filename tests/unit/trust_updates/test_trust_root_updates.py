"""The client workflow: what a device takes over, and every way to lie to it."""

import json
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Role

from lanai.errors import CloudUnavailable, Rejection, TrustRootRejected

DAY = 24 * 3600


async def refusal(device, repository) -> Rejection:
    """Why an update is refused."""
    with pytest.raises(TrustRootRejected) as caught:
        await device.store.update(repository)
    assert caught.value.hint
    return caught.value.reason


async def test_a_new_trust_root_arrives(device, repository, trust_root, other_root) -> None:
    """What the operator published is what the device uses, once it has updated."""
    assert device.store.current() == trust_root
    repository.publish(other_root)
    assert device.store.current() == trust_root
    assert await device.store.update(repository) == other_root
    assert device.store.current() == other_root


async def test_an_update_without_news_asks_for_two_files(device, repository) -> None:
    """The next root, which is not there, and the timestamp."""
    repository.asked.clear()
    await device.store.update(repository)
    assert repository.asked == ["2.root.json", "timestamp.json"]


async def test_rotations_slept_through(device, repository, other_root) -> None:
    """Three rotations on, all keys replaced and thresholds changed, the device follows."""
    for threshold in (3, 1, 2):
        repository.now += 10 * DAY
        repository.rotate(dict.fromkeys(repository.keys, (threshold, 3)))
    repository.publish(other_root)
    device.now = repository.now
    assert await device.store.update(repository) == other_root
    assert device.store.state().root == repository.files["4.root.json"]
    assert device.store.state().pinned == repository.files["1.root.json"]


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
async def test_one_role_gets_new_keys(device, repository, role, other_root) -> None:
    """What is kept under the old keys is no obstacle to the new."""
    repository.rotate({role: (2, 2)})
    repository.publish(other_root)
    assert await device.store.update(repository) == other_root


async def test_a_removed_key_counts_no_more(device, repository, other_root) -> None:
    """The keys of an older root sign a timestamp, a snapshot, targets: each refused."""
    old = dict(repository.keys)
    repository.rotate(dict.fromkeys(("targets", "snapshot", "timestamp"), (1, 1)))
    new = dict(repository.keys)
    for role in ("targets", "snapshot", "timestamp"):
        repository.keys = {**new, role: old[role]}
        repository.publish(other_root)
        assert await refusal(device, repository) is Rejection.SIGNATURE


async def test_removed_root_keys_make_no_root(device, repository) -> None:
    """After a rotation the old root keys, all three, cannot make the next root."""
    old = repository.keys["root"]
    repository.rotate({"root": (2, 3)})
    repository.publish()
    await device.store.update(repository)
    repository.rotate({"root": (2, 3)}, by=old)
    assert await refusal(device, repository) is Rejection.SIGNATURE


async def test_a_root_needs_both_thresholds(device, repository) -> None:
    """One old key of two that are needed, or the new keys not at all: refused."""
    repository.rotate({"root": (2, 3)}, by=repository.keys["root"][:1])
    assert await refusal(device, repository) is Rejection.SIGNATURE
    repository.files.pop("2.root.json")
    before, repository.root = repository.keys["root"], replaced_version(repository.root, 1)
    repository.rotate({"root": (2, 3)}, by=before)
    whole = Metadata.from_bytes(repository.files["2.root.json"])
    for signer in repository.keys["root"][1:]:
        del whole.signatures[signer.public_key.keyid]
    repository.files["2.root.json"] = whole.to_bytes()
    assert await refusal(device, repository) is Rejection.SIGNATURE


def replaced_version(root, version):
    root.version = version
    return root


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
async def test_the_threshold_of_each_role(device, repository, role, other_root) -> None:
    """One signature of two that are needed, even twice under two names, is refused."""
    repository.rotate({role: (2, 2)})
    repository.publish()
    await device.store.update(repository)
    repository.keys[role] = repository.keys[role][:1]
    repository.publish(other_root)
    assert await refusal(device, repository) is Rejection.SIGNATURE


async def test_one_key_under_two_names(device, repository) -> None:
    """Root metadata that would count one key twice is malformed."""
    signer = repository.keys["timestamp"][0]
    twin = CryptoSigner.generate_ed25519().public_key
    twin.keyval = dict(signer.public_key.keyval)
    repository.root.keys[twin.keyid] = twin
    repository.root.roles["timestamp"] = Role([signer.public_key.keyid, twin.keyid], 2)
    repository.rotate({})
    assert await refusal(device, repository) is Rejection.MALFORMED


@pytest.mark.parametrize("path", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
async def test_a_changed_byte(device, repository, path, other_root) -> None:
    """Any file changed after it was signed is refused."""
    repository.publish(other_root)
    repository.files[path] = repository.files[path].replace(b'"version":2', b'"version":3')
    assert await refusal(device, repository) in {Rejection.SIGNATURE, Rejection.MISMATCH}


async def test_rollback_of_the_timestamp(device, repository, other_root) -> None:
    """An older timestamp, rightly signed and unexpired, is refused after a newer one was seen."""
    old = repository.files["timestamp.json"]
    repository.publish(other_root)
    await device.store.update(repository)
    repository.files["timestamp.json"] = old
    assert await refusal(device, repository) is Rejection.ROLLBACK
    assert device.store.current() == other_root


async def test_rollback_of_the_snapshot(device, repository, other_root) -> None:
    """A newer timestamp that names an older snapshot is refused."""
    repository.publish(other_root)
    await device.store.update(repository)
    first = MetaFile.from_data(1, repository.files["1.snapshot.json"], ["sha256"])
    repository.put_timestamp(first)
    assert await refusal(device, repository) is Rejection.ROLLBACK


async def test_rollback_of_the_targets(device, repository, other_root) -> None:
    """A newer snapshot that names older targets, or none, is refused."""
    repository.publish(other_root)
    await device.store.update(repository)
    first = MetaFile.from_data(1, repository.files["1.targets.json"], ["sha256"])
    repository.put_snapshot(first)
    repository.put_timestamp()
    assert await refusal(device, repository) is Rejection.ROLLBACK
    repository.edit("3.snapshot.json", lambda signed: signed.meta.clear())
    repository.put_timestamp()
    assert await refusal(device, repository) is Rejection.ROLLBACK


async def test_rollback_of_the_root(device, repository) -> None:
    """Under the name of the next root an older one is refused."""
    repository.rotate({})
    repository.publish()
    await device.store.update(repository)
    repository.files["3.root.json"] = repository.files["2.root.json"]
    assert await refusal(device, repository) is Rejection.ROLLBACK


async def test_rollback_is_seen_after_a_failed_update(device, repository, other_root) -> None:
    """A timestamp counts as seen once it verified, though what it names never came."""
    old = repository.files["timestamp.json"]
    repository.publish(other_root)
    repository.files.pop("2.snapshot.json")
    with pytest.raises(CloudUnavailable):
        await device.store.update(repository)
    repository.files["timestamp.json"] = old
    assert await refusal(device, repository) is Rejection.ROLLBACK


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
async def test_freeze(device, repository, role, trust_root) -> None:
    """Metadata of any role that has expired, and nothing newer to be had, is refused."""
    repository.life_s = dict.fromkeys(repository.life_s, 30 * DAY) | {role: DAY}
    repository.rotate({})
    repository.publish()
    await device.store.update(repository)
    device.now += DAY - 1
    assert device.store.current() == trust_root
    device.now += 1
    assert await refusal(device, repository) is Rejection.FREEZE
    with pytest.raises(TrustRootRejected) as caught:
        device.store.current()
    assert caught.value.reason is Rejection.FREEZE


async def test_an_expired_root_on_the_way(device, repository, other_root) -> None:
    """Only the last root has to be unexpired: else nobody could sleep for long."""
    repository.life_s["root"] = 1
    repository.rotate({"root": (2, 3)})
    repository.life_s["root"] = 30 * DAY
    repository.rotate({"root": (2, 3)})
    repository.publish(other_root)
    device.now += 60
    assert await device.store.update(repository) == other_root


async def test_mix_and_match(device, repository, other_root) -> None:
    """A snapshot, targets or trust root of another time than the one named is refused."""
    repository.publish(other_root)
    good = dict(repository.files)
    for new, old in (("2.snapshot.json", "1.snapshot.json"), ("2.targets.json", "1.targets.json")):
        repository.files = {**good, new: good[old]}
        assert await refusal(device, repository) is Rejection.MISMATCH
    first, second = (p for p in good if p.startswith("targets/"))
    repository.files = {**good, second: good[first]}
    assert await refusal(device, repository) is Rejection.MISMATCH


async def test_a_version_that_is_not_the_named_one(device, repository) -> None:
    """Without hashes in between, the version alone gives a swapped snapshot away."""
    repository.put_snapshot()
    repository.put_snapshot()
    repository.files["2.snapshot.json"] = repository.files["3.snapshot.json"]
    repository.put_timestamp(MetaFile(2))
    assert await refusal(device, repository) is Rejection.MISMATCH


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("2.root.json", 512 * 1024),
        ("timestamp.json", 16 * 1024),
        ("2.snapshot.json", 64 * 1024),
        ("2.targets.json", 256 * 1024),
    ],
)
async def test_endless_data(device, repository, path, limit, other_root) -> None:
    """More than a role may have is refused by its size, unread."""
    repository.publish(other_root)
    repository.files[path] = b" " * (limit + 1)
    assert await refusal(device, repository) is Rejection.TOO_LARGE


async def test_a_trust_root_longer_than_named(device, repository, other_root) -> None:
    """Signed metadata names its length; more is refused before it is hashed."""
    repository.publish(other_root)
    path = [p for p in repository.files if p.startswith("targets/")][-1]
    repository.files[path] += b" "
    assert await refusal(device, repository) is Rejection.TOO_LARGE


@pytest.mark.parametrize("path", ["2.root.json", "timestamp.json", "2.snapshot.json"])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 9000, b'{"signed":{}}'])
async def test_no_metadata_at_all(device, repository, path, data, other_root) -> None:
    """Cut, binary, deeply nested or empty files are refused as what they are."""
    repository.publish(other_root)
    repository.files[path] = data
    reason = await refusal(device, repository)
    # Length and hash in signed metadata are asked first.
    asked_first = {Rejection.MISMATCH, Rejection.TOO_LARGE}
    assert reason in (asked_first if "snapshot" in path else {Rejection.MALFORMED})


async def test_one_role_in_the_place_of_another(device, repository) -> None:
    """Rightly signed metadata of another role is refused."""
    repository.files["timestamp.json"] = repository.files["1.snapshot.json"]
    assert await refusal(device, repository) is Rejection.MALFORMED


async def test_unknown_keys_in_the_trust_root(device, repository, trust_root) -> None:
    """Rightly signed or not: a device that does not understand all of it uses none of it."""
    values = json.loads(trust_root.to_json()) | {"later": 1}
    repository.publish(json.dumps(values).encode())
    assert await refusal(device, repository) is Rejection.MALFORMED


async def test_an_update_cannot_change_the_profile(device, repository, trust_root) -> None:
    """A device enrolled for one profile is not moved to the other."""
    repository.publish(replace(trust_root, profile="production"))
    assert await refusal(device, repository) is Rejection.PROFILE


async def test_no_trust_root_among_the_targets(device, repository) -> None:
    """Targets that name something else only are refused."""
    repository.publish()
    repository.edit("2.targets.json", lambda signed: signed.targets.clear())
    repository.put_snapshot()
    repository.put_timestamp()
    assert await refusal(device, repository) is Rejection.MALFORMED


async def test_enrolment_verifies_everything_first(tmp_path, device, repository) -> None:
    """A root that is not signed by itself enrols nobody, and nothing is written."""
    broken = Metadata.from_bytes(repository.files["1.root.json"])
    for signer in repository.keys["root"][1:]:
        del broken.signatures[signer.public_key.keyid]
    fresh = replace(device, folder=tmp_path / "fresh")
    with pytest.raises(TrustRootRejected) as caught:
        await fresh.store.enrol(broken.to_bytes(), repository)
    assert caught.value.reason is Rejection.SIGNATURE
    assert fresh.store.current() is None
