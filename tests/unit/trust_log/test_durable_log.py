"""The log on disk: what survives, what is refused, what readers see."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import trust.log.transparency_log as module
from lanai.errors import LogRejected, Rejection, StoreError
from trust.log.checkpoint import Checkpoint
from trust.log.files import write_durably
from trust.log.merkle import leaf_hash, verify_inclusion
from trust.log.notes import NoteSigner, attach, open_note
from trust.log.tiles import MAX_LEAF_BYTES, decode_entries, encode_entries, tile_path
from trust.log.transparency_log import TransparencyLog

ORIGIN = "log.invalid"
SIGNER = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
WITNESS = NoteSigner.cosigner("witness.invalid", Ed25519PrivateKey.generate())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of hundreds of leaves that cut no power."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def filled(folder: Path, count: int) -> TransparencyLog:
    log = TransparencyLog.create(ORIGIN, SIGNER, folder)
    for number in range(count):
        assert log.append(b"leaf %d" % number) == number
    return log


def published(log: TransparencyLog) -> bytes:
    note = log.checkpoint()
    text = open_note(note, [SIGNER.verifier]).text
    log.publish(attach(note, WITNESS.line(text, now=7).encode(), WITNESS.verifier))
    return text.encode()


def test_everything_survives_a_restart(folder: Path) -> None:
    """Leaves, tree, signed and published checkpoints are the same after closing and opening."""
    with filled(folder, 5) as log:
        published(log)
        log.append(b"after")
        before = (log.size, log.checkpoint(), log.published, log.entries(0, 99))
    with TransparencyLog.open(ORIGIN, SIGNER, folder) as log:
        assert (log.size, log.checkpoint(), log.published, log.entries(0, 99)) == before
        assert log.append(b"next") == 6


@pytest.mark.usefixtures("hasty_disk")
def test_it_crosses_a_tile_boundary(folder: Path) -> None:
    """Past 256 leaves tiles and proofs stay right, and spent partial tiles go."""
    with filled(folder, 259) as log:
        published(log)
    assert (folder / tile_path(0, 0)).stat().st_size == 256 * 32
    assert not (folder / tile_path(0, 0)).with_name("000.p").exists()
    assert (folder / tile_path(1, 0, 1)).stat().st_size == 32
    with TransparencyLog.open(ORIGIN, SIGNER, folder) as log:
        proof = log.inclusion(leaf_hash(b"leaf 3"))
        checkpoint = Checkpoint.parse(open_note(proof.checkpoint, [SIGNER.verifier]).text)
        verify_inclusion(
            leaf_hash(b"leaf 3"),
            index=3,
            size=checkpoint.size,
            proof=proof.hashes,
            root=checkpoint.root,
        )
        assert log.entries(254, 4) == [b"leaf 254", b"leaf 255", b"leaf 256", b"leaf 257"]


def test_a_log_is_made_once(folder: Path) -> None:
    """Creating over a log is refused, even when its identity file is gone."""
    filled(folder, 1).close()
    with pytest.raises(StoreError):
        TransparencyLog.create(ORIGIN, SIGNER, folder)
    (folder / "log.json").unlink()
    with pytest.raises(StoreError):
        TransparencyLog.create(ORIGIN, SIGNER, folder)


def test_a_log_that_is_not_there_is_not_made(folder: Path) -> None:
    """Opening never creates."""
    with pytest.raises(StoreError):
        TransparencyLog.open(ORIGIN, SIGNER, folder)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(StoreError):
        TransparencyLog.open(ORIGIN, SIGNER, folder)


def test_another_key_or_origin_cannot_open(folder: Path) -> None:
    """A log belongs to one origin and one key."""
    filled(folder, 1).close()
    other = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
    for origin, signer in ((ORIGIN, other), ("other.invalid", SIGNER)):
        with pytest.raises(LogRejected) as refusal:
            TransparencyLog.open(origin, signer, folder)
        assert refusal.value.reason is Rejection.UNKNOWN_KEY


def test_one_writer(folder: Path) -> None:
    """A second writer is refused while the first lives."""
    with filled(folder, 1), pytest.raises(StoreError, match="another process"):
        TransparencyLog.open(ORIGIN, SIGNER, folder)
    TransparencyLog.open(ORIGIN, SIGNER, folder).close()


@pytest.mark.parametrize(
    "path", [tile_path(0, 0, 3), tile_path("entries", 0, 3), "signed-checkpoint", "log.json"]
)
def test_damaged_files_are_refused(folder: Path, path: str) -> None:
    """A changed byte, a cut or a missing file is noticed on opening."""
    filled(folder, 3).close()
    whole = (folder / path).read_bytes()
    for damage in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], None):
        if damage is None:
            (folder / path).unlink()
        else:
            (folder / path).write_bytes(damage)
        with pytest.raises((LogRejected, StoreError)):
            TransparencyLog.open(ORIGIN, SIGNER, folder)
        (folder / path).write_bytes(whole)
    TransparencyLog.open(ORIGIN, SIGNER, folder).close()


def test_tiles_that_agree_must_be_the_signed_ones(folder: Path) -> None:
    """Exchanging a leaf and its hash together contradicts the signed checkpoint."""
    filled(folder, 3).close()
    leaves = [b"leaf 0", b"other", b"leaf 2"]
    (folder / tile_path("entries", 0, 3)).write_bytes(encode_entries(leaves))
    (folder / tile_path(0, 0, 3)).write_bytes(b"".join(map(leaf_hash, leaves)))
    with pytest.raises(LogRejected) as refusal:
        TransparencyLog.open(ORIGIN, SIGNER, folder)
    assert refusal.value.reason is Rejection.SPLIT_VIEW


def test_a_shortened_log_is_refused(folder: Path) -> None:
    """Going back to an earlier signed checkpoint contradicts what was public."""
    with filled(folder, 2) as log:
        earlier = log.checkpoint()
        log.append(b"public")
        published(log)
    (folder / "signed-checkpoint").write_bytes(earlier)
    with pytest.raises(LogRejected):
        TransparencyLog.open(ORIGIN, SIGNER, folder)


@pytest.mark.usefixtures("hasty_disk")
def test_a_crash_before_signing_loses_only_the_unsigned(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaf whose append did not return may be gone; all earlier ones are there."""
    log = filled(folder, 255)

    def crash(path: Path, data: bytes) -> None:
        raise StoreError("power cut")

    # The tiles, a full one among them, are written; the checkpoint is not.
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_durably", crash)
        with pytest.raises(StoreError):
            log.append(b"lost")
    with pytest.raises(StoreError, match="closed"):
        log.append(b"refused while memory and disk may differ")
    shutil.copytree(folder, tmp_path / "copy")
    for place in (folder, tmp_path / "copy"):
        with TransparencyLog.open(ORIGIN, SIGNER, place) as again:
            assert again.size == 255
            assert again.append(b"another") == 255
            assert again.entries(255, 1) == [b"another"]


def test_a_file_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contents are flushed under another name, then renamed, then the folder is flushed."""
    steps: list[str] = []
    kinds = {True: "folder", False: "file"}
    real_replace = Path.replace

    def fsync(handle: int) -> None:
        steps.append(kinds[stat.S_ISDIR(os.fstat(handle).st_mode)])

    def renamed(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    write_durably(tmp_path / "file", b"data")
    assert steps == ["file", "rename", "folder"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"data"


def test_only_public_leaves_are_proven(folder: Path) -> None:
    """A leaf has a proof once a checkpoint over it is published."""
    with filled(folder, 1) as log:
        with pytest.raises(LogRejected):
            log.inclusion(leaf_hash(b"leaf 0"))
        published(log)
        log.append(b"later")
        assert log.inclusion(leaf_hash(b"leaf 0")).index == 0
        assert log.find(leaf_hash(b"later")) == 1
        with pytest.raises(LogRejected):
            log.inclusion(leaf_hash(b"later"))


def test_publishing_checks_the_checkpoint(folder: Path) -> None:
    """Another tree, an older tree and a stranger's note are not shown to readers."""
    with filled(folder, 2) as log:
        older = log.checkpoint()
        log.append(b"third")
        published(log)
        fork = SIGNER.sign(Checkpoint(origin=ORIGIN, size=2, root=bytes(32)).format())
        ahead = SIGNER.sign(Checkpoint(origin=ORIGIN, size=9, root=bytes(32)).format())
        stranger = NoteSigner(ORIGIN, Ed25519PrivateKey.generate()).sign("x\n")
        shown = log.published
        for note in (older, fork, ahead, stranger):
            with pytest.raises(LogRejected):
                log.publish(note)
        assert log.published == shown == (folder / "checkpoint").read_bytes()


def test_entry_limits(folder: Path) -> None:
    """Leaves have two length bytes; empty ones are fine, longer ones are refused."""
    with filled(folder, 0) as log:
        log.append(b"")
        log.append(bytes(MAX_LEAF_BYTES))
        with pytest.raises(LogRejected):
            log.append(bytes(MAX_LEAF_BYTES + 1))
        assert [len(leaf) for leaf in log.entries(0, 9)] == [0, MAX_LEAF_BYTES]
        assert log.entries(2, 9) == []
        with pytest.raises(LogRejected):
            log.entries(-1, 1)


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x00\x01"])
def test_broken_bundles(data: bytes) -> None:
    """An entry bundle that breaks off is refused."""
    assert decode_entries(encode_entries([b"", b"ab"])) == [b"", b"ab"]
    with pytest.raises(LogRejected):
        decode_entries(data)
