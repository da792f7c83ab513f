"""Leaves of the transparency log as a trust root judges them: proved, witnessed, of one history.

Whatever a device believes because it is public (a node's release, a party's key) is judged here.
"""

from collections.abc import Sequence

from lanai.errors import LogRejected, Rejection
from trust.bundle import Checkpoint, LogProof
from trust.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from trust.root import TrustRoot
from trust.witnessed import CheckpointVerifier, SignedCheckpoint

__all__ = ["LogVerifier", "check_history"]

_HINT = "what it was to prove is not used"


class LogVerifier:
    """Judges log proofs by a trust root. Keeps the notes it opened: many leaves share one."""

    def __init__(self, root: TrustRoot) -> None:
        self._checkpoints = CheckpointVerifier(root)

    def consistency_needed(
        self, proof: LogProof, seen: Checkpoint | None
    ) -> tuple[int, int] | None:
        """Sizes (old, new) to fetch a consistency proof for, before `verify`; None when none is.

        Raises ``LogRejected`` when the checkpoint's signatures do not stand.
        """
        if seen is None:
            return None
        checkpoint = self._checkpoints.open(proof.checkpoint).checkpoint
        old, new = sorted((seen.size, checkpoint.size))
        return None if old in (0, new) else (old, new)

    def verify(
        self,
        leaf: bytes,
        proof: LogProof,
        *,
        now: float,
        seen: Checkpoint | None = None,
        consistency: Sequence[bytes] = (),
    ) -> SignedCheckpoint:
        """The checkpoint that proves ``leaf`` now (unix seconds), or ``LogRejected``.

        1. The checkpoint is the log's, a quorum of witnesses cosigned it, and did so recently.
        2. The leaf is under that checkpoint.
        3. The checkpoint and the last one seen are of one history.

        ``seen`` is the newest checkpoint the caller stored, ``consistency`` the proof for
        `consistency_needed`. A proof may carry an older checkpoint than ``seen`` while it is fresh
        and proven to be its prefix. The caller must still store it when it is newer.
        """
        signed = self.prove(leaf, proof, now=now)  # 1, 2
        if seen is not None:
            check_history(signed.checkpoint, seen, consistency)  # 3
        return signed

    def prove(self, leaf: bytes, proof: LogProof, *, now: float) -> SignedCheckpoint:
        """Steps 1 and 2 alone: public for a quorum of witnesses, perhaps in another history.

        The caller must still check the history before anything is entrusted to what was proved.
        """
        signed = self._checkpoints.open(proof.checkpoint)
        self._checkpoints.require_quorum(signed, now=now)
        verify_inclusion(
            leaf_hash(leaf),
            index=proof.index,
            size=signed.checkpoint.size,
            proof=proof.hashes,
            root=signed.checkpoint.root,
        )
        return signed


def check_history(checkpoint: Checkpoint, seen: Checkpoint, consistency: Sequence[bytes]) -> None:
    """One of the two is a prefix of the other, or they are the same.

    Raises ``LogRejected``: ``unknown_key`` (another log), ``split_view``, ``rollback``,
    ``consistency``.
    """
    if seen.origin != checkpoint.origin:
        raise _refused("the stored checkpoint is of another log", Rejection.UNKNOWN_KEY)
    if seen.size == checkpoint.size and seen.root != checkpoint.root:
        raise _refused("the log shows two roots for one size", Rejection.SPLIT_VIEW)
    if seen.size in (0, checkpoint.size):
        return
    older, newer = sorted((seen, checkpoint), key=lambda item: item.size)
    try:
        verify_consistency(
            older.size,
            newer.size,
            old_root=older.root,
            new_root=newer.root,
            proof=consistency,
        )
    except LogRejected as error:
        reason = Rejection.ROLLBACK if older is checkpoint else Rejection.CONSISTENCY
        raise _refused("the checkpoint does not continue the one seen before", reason) from error


def _refused(message: str, reason: Rejection) -> LogRejected:
    return LogRejected(message, reason=reason, hint=_HINT)
