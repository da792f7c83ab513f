"""The operator's log, read file by file and replayed: what proofs for one's own node come from."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from cloud_node.events import EventLog
from cloud_node.refusals import refusing
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import log_pb2, log_pb2_grpc
from trust.audit import LogAudit, audit_log
from trust.bundle import LogProof
from trust.log.merkle import leaf_hash
from trust.log.published import FileReader, published_leaves
from trust.log.sources import read_checkpoint
from trust.root import TrustRoot
from trust.witnessed import CheckpointVerifier, SignedCheckpoint

__all__ = ["LogCopy", "LogMirror"]


class LogCopy:
    """A log as ``root`` judges it. ``clock`` is Unix seconds. Nothing is ever written to it."""

    def __init__(
        self, root: TrustRoot, files: FileReader, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._files = files
        self._verifier = CheckpointVerifier(root)
        self._key_max_lifetime_s: Final = root.key_max_lifetime_s
        self._clock = clock
        self._audit: LogAudit | None = None
        self.note = b""
        """The newest checkpoint that was verified: a signed note."""

    @property
    def signed(self) -> SignedCheckpoint:
        return self._verifier.open(self.note)

    def read(self) -> LogAudit:
        """The whole log as it is now: signed, witnessed, fresh, and every leaf replayed.

        What was read before must be a prefix of it. Raises ``TrustError``, and what reading raises.
        """
        note = read_checkpoint(self._files)
        signed = self._verifier.open(note)
        self._verifier.require_quorum(signed, now=self._clock())
        if self._audit is None or self._audit.checkpoint != signed.checkpoint:
            self._audit = audit_log(
                signed,
                published_leaves(self._files, signed.checkpoint.size),
                seen=None if self._audit is None else self._audit.checkpoint,
                key_max_lifetime_s=self._key_max_lifetime_s,
            )
        self.note = note
        return self._audit

    def inclusion(self, leaf: bytes) -> LogProof | None:
        """Proof for a release's leaf *hash* in the log as it is now; None when it is no leaf."""
        audit = self.read()
        for index, release in audit.releases.items():
            if leaf_hash(release.canonical()) == leaf:
                hashes = audit.tree.inclusion(index)
                return LogProof(index=index, hashes=hashes, checkpoint=self.note)
        return None


class LogMirror(log_pb2_grpc.LogServicer):
    """``Log.Inclusion`` from a copy: the one question that a node asks its operator's log."""

    def __init__(self, copy: LogCopy, events: EventLog) -> None:
        self._copy = copy
        self._events = events
        self._turn = asyncio.Lock()

    async def Inclusion(  # noqa: N802  the wire's name
        self, request: log_pb2.InclusionRequest, context: Any
    ) -> Any:
        """The newest proof for a leaf."""
        async with refusing(context, self._events), self._turn:
            proof = await asyncio.to_thread(self._copy.inclusion, request.leaf_hash)
            if proof is None:
                raise CloudRefused("no such leaf", refusal=RefusalCode.BAD_REQUEST)
        return log_pb2.InclusionResponse(
            index=proof.index, hashes=proof.hashes, note=proof.checkpoint
        )
