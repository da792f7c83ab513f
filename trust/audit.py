"""Replays a whole log: what a watchful user does, and no device needs before each request."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from lanai.errors import LogRejected, Rejection, TrustError
from trust.attestation.release import Release
from trust.log.checkpoint import Checkpoint
from trust.log.merkle import Tree, leaf_hash
from trust.witnessed import SignedCheckpoint

__all__ = ["LogAudit", "audit_log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAudit:
    """A log whose leaves lead to its checkpoint. ``releases`` by index; ``unreadable`` others."""

    checkpoint: Checkpoint
    releases: dict[int, Release]
    unreadable: int


def audit_log(
    signed: SignedCheckpoint, leaves: Iterable[bytes], *, seen: Checkpoint | None
) -> LogAudit:
    """Hash ``leaves`` anew and compare with the checkpoint, and with the one ``seen`` before.

    1. There are as many leaves as the checkpoint says; more are not read.
    2. Their root is the checkpoint's.
    3. The checkpoint seen before is a prefix of this tree.

    Raises ``LogRejected``: ``truncated``, ``inclusion``, ``rollback``, ``split_view``,
    ``unknown_key``.
    """
    checkpoint, tree = signed.checkpoint, Tree()
    releases, unreadable = dict[int, Release](), 0
    for leaf in islice(leaves, checkpoint.size):
        index = tree.append(leaf_hash(leaf))
        try:
            releases[index] = Release.parse(leaf)
        except TrustError:
            unreadable += 1
    if tree.size < checkpoint.size:  # 1
        raise _refused("the log shows fewer leaves than it signed", Rejection.TRUNCATED)
    if tree.root() != checkpoint.root:  # 2
        raise _refused("the leaves are not those the log signed", Rejection.INCLUSION)
    if seen is not None:
        _check_prefix(tree, checkpoint, seen)  # 3
    return LogAudit(checkpoint=checkpoint, releases=releases, unreadable=unreadable)


def _check_prefix(tree: Tree, checkpoint: Checkpoint, seen: Checkpoint) -> None:
    if seen.origin != checkpoint.origin:
        raise _refused("the stored checkpoint is of another log", Rejection.UNKNOWN_KEY)
    if seen.size > tree.size:
        raise _refused("the log is smaller than it was", Rejection.ROLLBACK)
    if tree.root(seen.size) != seen.root:
        raise _refused("the log rewrote what this device saw", Rejection.SPLIT_VIEW)


def _refused(message: str, reason: Rejection) -> LogRejected:
    return LogRejected(
        message, reason=reason, hint="do not use this cluster; report it to its operator"
    )
