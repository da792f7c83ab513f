"""A witness: cosigns only what continues what it cosigned before (c2sp.org/tlog-witness).

It remembers one checkpoint for each log. That memory is the whole point: it is written before a
cosignature leaves, and a witness whose memory is lost must get a new key.
"""

import base64
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from lanai.errors import LogRejected, Rejection, TrustError, WitnessConflict
from trust.log.checkpoint import Checkpoint, exact_base64
from trust.log.merkle import EMPTY_ROOT, MAX_SIZE, verify_consistency
from trust.log.notes import MAX_NOTE_BYTES, NoteKind, NoteSigner, VerifierKey, open_note
from trust.strict import Fields, canonical, read_canonical

__all__ = ["WitnessState"]

SCHEMA = "lanai.witness/1"
_SCHEMA = re.compile(re.escape(SCHEMA))
_ROOT = re.compile(r"[A-Za-z0-9+/]{43}=")
_VKEY = re.compile(r"[\x20-\x7e]{1,255}")
_MAX_STATE_BYTES = 4 * 1024 * 1024


class WitnessState:
    """What a witness knows, and the one thing it does.

    ``logs`` maps each known log's origin to its key. ``persist`` is called with `to_json` and must
    return only when that is on disk; whatever it raises stops the cosignature.
    """

    def __init__(
        self,
        signer: NoteSigner,
        logs: Mapping[str, VerifierKey],
        *,
        persist: Callable[[str], None],
        seen: Iterable[Checkpoint] = (),
    ) -> None:
        if signer.verifier.kind is not NoteKind.COSIGNATURE:
            raise _refused("a witness signs cosignatures", Rejection.MALFORMED)
        self._signer = signer
        self._logs = dict(logs)
        self._persist = persist
        self._seen = {checkpoint.origin: checkpoint for checkpoint in seen}
        self._lock = threading.Lock()

    def latest(self, origin: str) -> Checkpoint:
        """The checkpoint cosigned last for a known log; of size 0 when there is none."""
        empty = Checkpoint(origin=origin, size=0, root=EMPTY_ROOT)
        return self._seen.get(origin, empty)

    def add_checkpoint(
        self, old_size: int, consistency: Sequence[bytes], note: bytes, now: int
    ) -> bytes:
        """Cosign ``note`` and return the signature line. ``now`` is unix seconds.

        1. The log is known.
        2. The log itself signed the note.
        3. The sizes are in order, and ``old_size`` is what this witness cosigned last.
        4. The proof shows that the last checkpoint is a prefix.
        5. The new checkpoint is on disk.

        Raises ``LogRejected`` (``malformed``, ``unknown_key``, ``signature``, ``rollback``,
        ``split_view``, ``consistency``), ``WitnessConflict``, and what ``persist`` raises.
        """
        claimed = _unverified(note)
        key = self._logs.get(claimed.origin)  # 1
        if key is None:
            raise _refused("no log that this witness knows", Rejection.UNKNOWN_KEY)
        opened = open_note(note, [key])  # 2
        checkpoint = Checkpoint.parse(opened.text)
        with self._lock:
            last = self.latest(checkpoint.origin)
            _check_sizes(old_size, checkpoint, last)  # 3
            _check_continues(last, checkpoint, consistency)  # 4
            self._remember(checkpoint)  # 5
            return self._signer.line(opened.text, now=now).encode()

    def _remember(self, checkpoint: Checkpoint) -> None:
        before = dict(self._seen)
        # The extensions are the log's business; a witness remembers the tree.
        self._seen[checkpoint.origin] = Checkpoint(
            origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root
        )
        try:
            self._persist(self.to_json())
        except BaseException:
            self._seen = before
            raise

    def to_json(self) -> str:
        """Everything to be kept, without the key."""
        logs = [
            {"origin": c.origin, "size": c.size, "root": base64.b64encode(c.root).decode("ascii")}
            for _, c in sorted(self._seen.items())
        ]
        value = {"schema": SCHEMA, "vkey": self._signer.vkey, "logs": logs}
        return canonical(value).decode("ascii")

    @classmethod
    def from_json(
        cls,
        text: str,
        signer: NoteSigner,
        logs: Mapping[str, VerifierKey],
        *,
        persist: Callable[[str], None],
    ) -> "WitnessState":
        """The state `to_json` wrote, for the same key. Raises ``LogRejected``."""
        try:
            data = read_canonical(text.encode("ascii", "replace"), limit=_MAX_STATE_BYTES)
            read = Fields.exactly(data, {"schema", "vkey", "logs"})
            read.text("schema", _SCHEMA)
            vkey, rows = read.text("vkey", _VKEY), read.values["logs"]
            seen = [_remembered(row) for row in rows] if isinstance(rows, list) else None
        except TrustError as error:
            raise _refused(f"witness state: {error.message}", error.reason) from error
        if seen is None or vkey != signer.vkey or not len(seen) == len({c.origin for c in seen}):
            raise _refused("the witness state is another key's or damaged", Rejection.MALFORMED)
        return cls(signer, logs, persist=persist, seen=seen)


def _unverified(note: bytes) -> Checkpoint:
    """The checkpoint as claimed: good for finding the key to verify it with, and nothing else."""
    if len(note) > MAX_NOTE_BYTES:
        raise _refused("the note is too long", Rejection.TOO_LARGE)
    try:
        text, blank, _ = note.decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError:
        raise _refused("the note is not UTF-8", Rejection.MALFORMED) from None
    return Checkpoint.parse(f"{text}\n" if blank else "")


def _check_sizes(old_size: int, checkpoint: Checkpoint, last: Checkpoint) -> None:
    if not 0 <= old_size <= checkpoint.size:
        raise _refused("the checkpoint is smaller than the old size", Rejection.ROLLBACK)
    if old_size != last.size:
        raise WitnessConflict("another size was cosigned last", size=last.size)


def _check_continues(last: Checkpoint, new: Checkpoint, consistency: Sequence[bytes]) -> None:
    if new.size == 0 and new.root != EMPTY_ROOT:
        raise _refused("an empty tree has one root", Rejection.CONSISTENCY)
    if new.size == last.size and new.root != last.root:
        raise _refused("two roots for one size", Rejection.SPLIT_VIEW)
    if last.size == 0:
        if consistency:
            raise _refused("nothing can be proven from the empty tree", Rejection.CONSISTENCY)
        return
    verify_consistency(
        last.size, new.size, old_root=last.root, new_root=new.root, proof=consistency
    )


def _remembered(row: object) -> Checkpoint:
    read = Fields.exactly(row, {"origin", "size", "root"})
    return Checkpoint(
        origin=str(read.values["origin"]),
        size=read.number("size", low=0, high=MAX_SIZE),
        root=exact_base64(read.text("root", _ROOT)),
    )


def _refused(message: str, reason: Rejection) -> LogRejected:
    return LogRejected(message, reason=reason)
