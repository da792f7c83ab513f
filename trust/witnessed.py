"""Checkpoints as a trust root judges them: whose they are, who cosigned, how long ago."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from lanai.errors import LogRejected, Rejection
from trust.log.checkpoint import Checkpoint
from trust.log.notes import open_note
from trust.root import TrustRoot

__all__ = ["MAX_CLOCK_SKEW_S", "CheckpointVerifier", "SignedCheckpoint"]

MAX_CLOCK_SKEW_S = 60
"""How far in the future another party's clock may be."""

_MAX_CACHED = 32
_HINT = "the node is not used; others may be"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint that the root's log signed, and when (unix seconds) each witness cosigned it.

    How many witnesses suffice is a question of its own: `CheckpointVerifier.require_quorum`.
    """

    checkpoint: Checkpoint
    cosigned: Mapping[str, int]


class CheckpointVerifier:
    """Opens signed notes for one trust root. Keeps what it opened, since many nodes share one."""

    def __init__(self, root: TrustRoot) -> None:
        self._root = root
        self._log = root.log_verifier
        self._keys = (self._log, *root.witness_verifiers)
        self._opened: dict[bytes, SignedCheckpoint] = {}

    def open(self, note: bytes) -> SignedCheckpoint:
        """Verify all signatures by known keys; the log's must be among them.

        Raises ``LogRejected``: ``malformed``, ``too_large``, ``signature``, ``unknown_key``.
        """
        key = sha256(note).digest()
        if key not in self._opened:
            signed = self._verified(note)
            if len(self._opened) >= _MAX_CACHED:
                self._opened.pop(next(iter(self._opened)))
            self._opened[key] = signed
        return self._opened[key]

    def require_quorum(self, signed: SignedCheckpoint, *, now: float | None) -> None:
        """Enough witnesses cosigned, and recently; ``None`` asks for enough only.

        Raises ``LogRejected``: ``witness_quorum``, ``stale_checkpoint``.
        """
        times = signed.cosigned.values()
        if len(times) < self._root.quorum:
            raise _refused("too few witnesses cosigned the checkpoint", Rejection.WITNESS_QUORUM)
        if now is None:
            return
        oldest, newest = now - self._root.checkpoint_max_age_s, now + MAX_CLOCK_SKEW_S
        if sum(oldest <= time <= newest for time in times) < self._root.quorum:
            raise _refused("the checkpoint is not fresh", Rejection.STALE_CHECKPOINT)

    def _verified(self, note: bytes) -> SignedCheckpoint:
        opened = open_note(note, self._keys)
        if self._log.name not in opened.signers:
            raise _refused("the log did not sign this checkpoint", Rejection.UNKNOWN_KEY)
        checkpoint = Checkpoint.parse(opened.text)
        if checkpoint.origin != self._root.log_origin:
            raise _refused("a checkpoint of another log", Rejection.UNKNOWN_KEY)
        # The log's own signature carries no time; every witness's does.
        cosigned = {name: time for name, time in opened.signers.items() if time is not None}
        return SignedCheckpoint(checkpoint=checkpoint, cosigned=MappingProxyType(cosigned))


def _refused(message: str, reason: Rejection) -> LogRejected:
    return LogRejected(message, reason=reason, hint=_HINT)
