"""The logged keys of issuer and gateway: found by following the log, proved, shown to everybody.

Nobody tells the gateway which key is good. It reads the log as any device could, so a key that is
rotated is taken up while running, and a key that is not public does not exist here.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from grpc import aio

from cloud_node.events import Event, EventLog, Field
from cloud_node.gateway.log_reader import LogView
from cloud_node.refusals import refusal_of
from lanai.errors import CloudRefused, RefusalCode, Rejection, TrustError
from protos.lanai.v1alpha.gateway_pb2 import KeysResponse
from trust.bundle import Checkpoint
from trust.keys import KeyPurpose, KeyRecord, KeyVerifier, LoggedKey, VerifiedKey
from trust.log.merkle import leaf_hash

__all__ = ["LoggedKeys"]

BATCH: Final = 256
PROVE_S: Final = 30.0
"""Proofs are fetched anew as often, so that devices get a fresh checkpoint."""
MAX_SHOWN: Final = 16


class LoggedKeys:
    """One task calls ``watch``; everyone else only reads. ``clock`` is unix seconds."""

    def __init__(
        self,
        log: LogView,
        verifier: KeyVerifier,
        events: EventLog,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._verifier = verifier
        self._events = events
        self._clock = clock
        self._read = 0
        self._records: list[KeyRecord] = []
        self._proved: dict[bytes, tuple[LoggedKey, VerifiedKey]] = {}
        self._proved_at: float | None = None
        self._newest: Checkpoint | None = None
        self._log_gone = False

    def current(self, purpose: KeyPurpose) -> Mapping[bytes, VerifiedKey]:
        """Verified keys by their id, those whose window covers now."""
        now = self._clock()
        return {
            key.key_id: key
            for _, key in self._proved.values()
            if key.purpose == purpose and now < key.expires_at
        }

    def has_expired(self, key_id: bytes) -> bool:
        """Whether this was a logged key."""
        now = self._clock()
        return any(r.expires_at <= now for r in self._records if r.key_id == key_id)

    def response(self) -> KeysResponse:
        """What every device is shown: the same for all of them."""
        now = self._clock()
        shown = [logged for logged, key in self._proved.values() if now < key.expires_at]
        shown.sort(key=lambda logged: logged.proof.index)
        return KeysResponse(keys=[logged.to_proto() for logged in shown[-MAX_SHOWN:]])

    async def watch(self, interval_s: float) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(interval_s)

    async def refresh(self) -> None:
        """Read new leaves, and prove what needs a proof. A log that is gone changes nothing."""
        try:
            grown = await self._follow()
            if grown or self._waiting() or self._is_old():
                await self._prove()
        except (aio.AioRpcError, CloudRefused) as error:
            self._note_log(gone=True, error=error)
        else:
            self._note_log(gone=False)

    async def _follow(self) -> bool:
        """Take the key records out of leaves that are new; say whether there were any leaves."""
        before = self._read
        while leaves := await self._log.entries(self._read, BATCH):
            self._read += len(leaves)
            for leaf in leaves:
                self._take(leaf)
        return self._read > before

    def _take(self, leaf: bytes) -> None:
        try:
            record = KeyRecord.parse(leaf)
        except TrustError:
            return  # another kind of leaf
        if record not in self._records:
            self._records.append(record)

    def _unexpired(self) -> list[KeyRecord]:
        now = self._clock()
        return [record for record in self._records if now < record.expires_at]

    def _waiting(self) -> bool:
        """Whether a key's window has begun and it is not verified yet."""
        now = self._clock()
        return any(
            record.canonical() not in self._proved
            for record in self._unexpired()
            if record.not_before <= now
        )

    def _is_old(self) -> bool:
        return self._proved_at is None or self._clock() - self._proved_at > PROVE_S

    async def _prove(self) -> None:
        proved = {}
        for record in self._unexpired():
            leaf = record.canonical()
            try:
                proved[leaf] = await self._verify(record)
            except TrustError as error:
                if error.reason is not Rejection.NOT_YET_VALID:
                    self._events.emit(Event.KEY_REJECTED, {Field.REASON: error.reason})
            except aio.AioRpcError as error:
                if refusal_of(error) is not RefusalCode.BAD_REQUEST:
                    raise
                # No proof yet: the leaf waits for its witnesses, and is asked for again.
        if proved.keys() != self._proved.keys():
            self._events.emit(Event.KEYS_READ, {Field.COUNT: len(proved)})
        self._proved, self._proved_at = proved, self._clock()

    async def _verify(self, record: KeyRecord) -> tuple[LoggedKey, VerifiedKey]:
        proof = await self._log.inclusion(leaf_hash(record.canonical()))
        logged = LoggedKey(record=record, proof=proof)
        sizes = self._verifier.consistency_needed(logged, self._newest)
        consistency = await self._log.consistency(*sizes) if sizes else ()
        key = self._verifier.verify(
            logged, purpose=record.purpose, seen=self._newest, consistency=consistency
        )
        if self._newest is None or key.checkpoint.size >= self._newest.size:
            self._newest = key.checkpoint
        return logged, key

    def _note_log(self, *, gone: bool, error: BaseException | None = None) -> None:
        if gone and not self._log_gone:
            self._events.emit(Event.LOG_UNAVAILABLE, error=error)
        self._log_gone = gone
