"""The newest checkpoint this device has seen of the log: its memory against a rewritten one."""

import json
from hashlib import sha256
from pathlib import Path

from lanai.errors import LogRejected, Rejection, StoreError, TrustError
from trust.log.checkpoint import Checkpoint
from trust.private_files import locked, read_private, replace_private
from trust.root import TrustRoot

__all__ = ["CheckpointStore"]

SCHEMA = "lanai.checkpoint/2"
WITHOUT_NOTE = "lanai.checkpoint/1"
"""Files of earlier versions hold the text alone; the next newer checkpoint replaces them."""
MAX_BYTES = 256 * 1024


class CheckpointStore:
    """One log's newest checkpoint, in a file. Methods block for a few ms: call them in a thread."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, root: TrustRoot, folder: Path) -> "CheckpointStore":
        """The store for a trust root's log. Another log key is another log, with its own file."""
        name = sha256(f"{root.log_origin}\n{root.log_key}".encode()).hexdigest()[:16]
        return cls(folder / f"{name}.json")

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint; None before the first. Raises ``StoreError``, also if damaged."""
        stored = self._read()
        return None if stored is None else stored[0]

    def note(self) -> bytes | None:
        """The signed note it came in, which says who cosigned; None when that was not kept."""
        stored = self._read()
        return None if stored is None else stored[1]

    def advance(self, checkpoint: Checkpoint, *, note: bytes | None = None) -> None:
        """Remember a verified checkpoint, and its ``note``, unless an equal or newer one is there.

        Another process may have been quicker. Raises ``LogRejected`` (``SPLIT_VIEW``) for another
        root at the same size, ``StoreError``.
        """
        with locked(self._path):
            seen, kept = self._read() or (None, None)
            if seen is not None and seen.size == checkpoint.size and seen.root != checkpoint.root:
                raise LogRejected(
                    "the log shows two roots for one size",
                    reason=Rejection.SPLIT_VIEW,
                    hint="do not use this cluster; report it to its operator",
                )
            bare = seen is not None and seen.size == checkpoint.size and kept is None
            if seen is None or seen.size < checkpoint.size or (bare and note is not None):
                self._write(checkpoint, note)

    def _read(self) -> tuple[Checkpoint, bytes | None] | None:
        data = read_private(self._path, limit=MAX_BYTES)
        if data is None:
            return None
        try:
            values = json.loads(data)
            if values["schema"] == WITHOUT_NOTE:
                return Checkpoint.parse(values["text"]), None
            if values["schema"] != SCHEMA:
                raise self._damaged()
            note = values["note"]
            checkpoint = Checkpoint.parse(values["text"])
            return checkpoint, None if note is None else note.encode("utf-8")
        except (ValueError, KeyError, AttributeError, TypeError, TrustError):
            raise self._damaged() from None

    def _write(self, checkpoint: Checkpoint, note: bytes | None) -> None:
        text = None if note is None else note.decode("utf-8")
        values = {"schema": SCHEMA, "text": checkpoint.format(), "note": text}
        replace_private(self._path, json.dumps(values).encode())

    def _damaged(self) -> StoreError:
        # Not started over: that is what somebody who rolls the log back would want.
        return StoreError(
            f"the stored checkpoint {self._path} is damaged",
            hint="restore it; remove it only if you know why it is damaged",
        )
