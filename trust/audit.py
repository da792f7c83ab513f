"""Replays a whole log: what a watchful user does, and no device needs before each request."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from lanai.errors import LogRejected, Rejection, TrustError
from trust.attestation.release import Release
from trust.key_windows import MOST_VALID, most_at_once
from trust.keys import KeyPurpose, KeyRecord
from trust.log.checkpoint import Checkpoint
from trust.log.merkle import Tree, leaf_hash
from trust.witnessed import SignedCheckpoint

__all__ = ["PURPOSES", "LogAudit", "audit_log"]


PURPOSES: Final[tuple[KeyPurpose, ...]] = ("issuer", "gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAudit:
    """A log whose leaves lead to its checkpoint.

    ``releases`` and ``keys`` by index; ``unreadable`` counts leaves of no known form. ``tree`` is
    the tree of all leaves, for comparing with tiles.
    """

    checkpoint: Checkpoint
    releases: dict[int, Release]
    keys: dict[int, KeyRecord]
    unreadable: int
    tree: Tree = field(repr=False)

    def keys_of(self, purpose: KeyPurpose) -> list[KeyRecord]:
        """Key records of one purpose, in the order of the log."""
        return [record for record in self.keys.values() if record.purpose == purpose]


def audit_log(
    signed: SignedCheckpoint,
    leaves: Iterable[bytes],
    *,
    seen: Checkpoint | None,
    key_max_lifetime_s: int,
) -> LogAudit:
    """Hash ``leaves`` anew and compare with the checkpoint, and with the one ``seen`` before.

    1. There are as many leaves as the checkpoint says; more are not read.
    2. Their root is the checkpoint's.
    3. The checkpoint seen before is a prefix of this tree.
    4. No key lives longer than ``key_max_lifetime_s``, and of no purpose are more than two valid at
       one time: nobody was given a key of their own.

    Raises ``LogRejected``: ``truncated``, ``inclusion``, ``rollback``, ``split_view``,
    ``unknown_key``, ``lifetime``, ``key_overlap``.
    """
    audit = _replay(signed.checkpoint, leaves)  # 1, 2
    if seen is not None:
        _check_prefix(audit.tree, audit.checkpoint, seen)  # 3
    for purpose in PURPOSES:
        _check_keys(audit.keys_of(purpose), key_max_lifetime_s)  # 4
    return audit


def _replay(checkpoint: Checkpoint, leaves: Iterable[bytes]) -> LogAudit:
    tree, releases, keys = Tree(), dict[int, Release](), dict[int, KeyRecord]()
    for leaf in islice(leaves, checkpoint.size):
        index = tree.append(leaf_hash(leaf))
        found = _parsed(leaf)
        if isinstance(found, Release):
            releases[index] = found
        elif found is not None:
            keys[index] = found
    if tree.size < checkpoint.size:
        raise _refused("the log shows fewer leaves than it signed", Rejection.TRUNCATED)
    if tree.root() != checkpoint.root:
        raise _refused("the leaves are not those the log signed", Rejection.INCLUSION)
    unreadable = tree.size - len(releases) - len(keys)
    return LogAudit(
        checkpoint=checkpoint, releases=releases, keys=keys, unreadable=unreadable, tree=tree
    )


def _parsed(leaf: bytes) -> Release | KeyRecord | None:
    for kind in (Release, KeyRecord):
        try:
            return kind.parse(leaf)
        except TrustError:
            continue
    return None


def _check_keys(records: list[KeyRecord], max_lifetime_s: int) -> None:
    if any(record.lifetime_s > max_lifetime_s for record in records):
        raise _refused("the log holds a key that lives too long", Rejection.LIFETIME)
    if most_at_once(records) > MOST_VALID:
        raise _refused("more keys were valid at once than a rotation needs", Rejection.KEY_OVERLAP)


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
