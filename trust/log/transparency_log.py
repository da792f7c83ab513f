"""The log an operator runs: append-only, durable, one writer, served as tiles.

    log.json            origin and key; made once by `create`, required by `open`
    tile/...            see `trust.log.tiles`
    signed-checkpoint   the newest tree, signed by the log: what `open` goes by
    checkpoint          the newest *cosigned* one: what readers are shown
    lock                held by the one process that may write

A leaf is in the log when `append` returns. A tree is public when `publish` returns.
"""

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path

from lanai.errors import LogRejected, Rejection, StoreError, TrustError
from trust.bundle import LogProof
from trust.log.checkpoint import Checkpoint
from trust.log.files import mapped_errors, read_file, write_durably
from trust.log.merkle import Tree, leaf_hash
from trust.log.notes import NoteSigner, open_note
from trust.log.tiles import MAX_LEAF_BYTES, TILE_WIDTH, read_entries, read_tree, write_tiles
from trust.strict import Fields, canonical, read_canonical

__all__ = ["MAX_ENTRIES", "TransparencyLog"]

SCHEMA = "lanai.log/1"
MAX_ENTRIES = 1024
_SCHEMA = re.compile(re.escape(SCHEMA))
_LINE = re.compile(r"[\x20-\x7e]{1,255}")
_IDENTITY = "log.json"
_SIGNED = "signed-checkpoint"
_PUBLISHED = "checkpoint"
_MAX_IDENTITY = 4096


class TransparencyLog:
    """Use `create` once and `open` ever after: a log that starts anew is a split view."""

    def __init__(self, origin: str, signer: NoteSigner, folder: Path, *, lock: int) -> None:
        self._origin = origin
        self._signer = signer
        self._folder = folder
        self._lock: int | None = lock
        self._tree = Tree()
        self._indices: dict[bytes, int] = {}
        self._tail: list[bytes] = []
        self._published: tuple[Checkpoint, bytes] | None = None

    @classmethod
    def create(cls, origin: str, signer: NoteSigner, folder: Path) -> "TransparencyLog":
        """Start an empty log in ``folder``, which must hold none. Raises ``StoreError``."""
        with mapped_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = cls(origin, signer, folder, lock=_locked(folder))
        try:
            _require_no_log(folder)
            log._sign()
            # Last, so that a log that exists is a whole one.
            write_durably(folder / _IDENTITY, _identity(origin, signer))
        except BaseException:
            log.close()
            raise
        return log

    @classmethod
    def open(cls, origin: str, signer: NoteSigner, folder: Path) -> "TransparencyLog":
        """Continue the log in ``folder``. Raises ``StoreError`` when there is none.

        Raises ``LogRejected`` when it has another origin or key, or its files disagree.
        """
        with mapped_errors(folder):
            if not folder.is_dir():
                raise StoreError(f"{folder} holds no log", hint="create it once")
        log = cls(origin, signer, folder, lock=_locked(folder))
        try:
            log._load()
        except BaseException:
            log.close()
            raise
        return log

    @property
    def size(self) -> int:
        """Number of leaves, published or not."""
        return self._tree.size

    @property
    def published(self) -> bytes | None:
        """The newest cosigned checkpoint, a signed note; None before the first `publish`."""
        return self._published[1] if self._published else None

    def append(self, leaf: bytes) -> int:
        """Add ``leaf`` and a signed checkpoint over it, durably; return the leaf's index.

        Raises ``LogRejected`` (``too_large``) and ``StoreError``; after the latter the log is
        closed, since memory and disk may differ: open it again.
        """
        self._require_open()
        if len(leaf) > MAX_LEAF_BYTES:
            raise LogRejected("the leaf is too long", reason=Rejection.TOO_LARGE)
        before = self.size
        index = self._add(leaf)
        try:
            write_tiles(self._folder, self._tree, self._recent, since=before)
            self._sign()
        except BaseException:
            self.close()
            raise
        return index

    def find(self, hash_of_leaf: bytes) -> int | None:
        """Index of the first leaf with that hash, published or not."""
        return self._indices.get(hash_of_leaf)

    def checkpoint(self) -> bytes:
        """The newest checkpoint, signed by the log alone: what witnesses are asked to cosign."""
        note = read_file(self._folder / _SIGNED)
        if note is None:
            raise _damaged("the signed checkpoint is gone")
        return note

    def publish(self, note: bytes) -> None:
        """Show ``note`` to readers: a checkpoint of this log and the cosignatures it gathered.

        The caller has checked these. Raises ``LogRejected``: ``signature``,
        ``unknown_key``, ``split_view``, ``rollback``.
        """
        self._require_open()
        checkpoint = self._own(note)
        if self._published and checkpoint.size < self._published[0].size:
            raise LogRejected("a larger tree is public already", reason=Rejection.ROLLBACK)
        write_durably(self._folder / _PUBLISHED, note)
        self._published = checkpoint, note

    def inclusion(self, hash_of_leaf: bytes) -> LogProof:
        """Proof of a leaf in the published checkpoint. Raises ``LogRejected`` (``inclusion``)."""
        index = self.find(hash_of_leaf)
        if self._published is None or index is None or index >= self._published[0].size:
            raise LogRejected("no such leaf is public", reason=Rejection.INCLUSION)
        checkpoint, note = self._published
        hashes = self._tree.inclusion(index, checkpoint.size)
        return LogProof(index=index, hashes=hashes, checkpoint=note)

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Proof between two sizes up to the newest. Raises ``LogRejected``."""
        return self._tree.consistency(old_size, new_size)

    def entries(self, start: int, count: int) -> list[bytes]:
        """At most ``count`` (and `MAX_ENTRIES`) leaves from ``start``. Raises ``LogRejected``."""
        if start < 0 or count < 0:
            raise LogRejected("entries begin at 0", reason=Rejection.MALFORMED)
        end = min(start + min(count, MAX_ENTRIES), self.size)
        return list(read_entries(self._folder, self._tree, start, end))

    def close(self) -> None:
        """Let another process write. The log is unusable afterwards."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "TransparencyLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._lock is None:
            raise StoreError("the log is closed", hint="open it again")

    def _add(self, leaf: bytes) -> int:
        hashed = leaf_hash(leaf)
        index = self._tree.append(hashed)
        self._indices.setdefault(hashed, index)
        if index % TILE_WIDTH == 0:
            self._tail = []
        self._tail.append(leaf)
        return index

    def _recent(self, start: int, end: int) -> Sequence[bytes]:
        """Leaves of the last tile, which is the only one an append changes."""
        return self._tail[start % TILE_WIDTH :][: end - start]

    def _sign(self) -> None:
        text = Checkpoint(origin=self._origin, size=self.size, root=self._tree.root()).format()
        write_durably(self._folder / _SIGNED, self._signer.sign(text))

    def _own(self, note: bytes) -> Checkpoint:
        """The checkpoint in ``note``, if this log signed it and its root is this tree's."""
        checkpoint = Checkpoint.parse(open_note(note, [self._signer.verifier]).text)
        if checkpoint.origin != self._origin or checkpoint.size > self.size:
            raise _damaged("a checkpoint that this log did not make")
        if checkpoint.root != self._tree.root(checkpoint.size):
            raise LogRejected("two roots for one size", reason=Rejection.SPLIT_VIEW)
        return checkpoint

    def _load(self) -> None:
        """1 same identity, 2 tree as signed, 3 entries as hashed, 4 what was public."""
        if read_file(self._folder / _IDENTITY) is None:
            raise StoreError(f"{self._folder} holds no log", hint="create it once")
        if _read_identity(self._folder) != (self._origin, self._signer.vkey):  # 1
            raise LogRejected("the log has another origin or key", reason=Rejection.UNKNOWN_KEY)
        signed = open_note(self.checkpoint(), [self._signer.verifier])
        size = Checkpoint.parse(signed.text).size
        tree = read_tree(self._folder, size)  # 2
        for leaf in read_entries(self._folder, tree, 0, size):  # 3
            self._add(leaf)
        self._own(self.checkpoint())
        note = read_file(self._folder / _PUBLISHED)
        if note is not None:
            self._published = self._own(note), note  # 4


def _require_no_log(folder: Path) -> None:
    # A signed checkpoint alone is an empty log whose making was cut short.
    if any((folder / name).exists() for name in (_IDENTITY, _PUBLISHED, "tile")):
        raise StoreError(f"{folder} holds a log already", hint="open it instead")


def _identity(origin: str, signer: NoteSigner) -> bytes:
    return canonical({"schema": SCHEMA, "origin": origin, "vkey": signer.vkey})


def _read_identity(folder: Path) -> tuple[str, str]:
    data = read_file(folder / _IDENTITY) or b""
    try:
        read = Fields.exactly(
            read_canonical(data, limit=_MAX_IDENTITY), {"schema", "origin", "vkey"}
        )
        read.text("schema", _SCHEMA)
        return read.text("origin", _LINE), read.text("vkey", _LINE)
    except TrustError as error:
        raise _damaged(f"{_IDENTITY}: {error.message}") from error


def _locked(folder: Path) -> int:
    """File descriptor that holds the folder's lock."""
    path = folder / "lock"
    with mapped_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise StoreError(
                f"another process writes the log in {folder}", hint="stop it first"
            ) from None
    return handle


def _damaged(message: str) -> LogRejected:
    return LogRejected(message, reason=Rejection.MALFORMED, hint="restore the log's folder")
