"""Asks witnesses to cosign the log's newest checkpoint, and publishes it when enough did."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import grpc
from grpc import aio

from cloud_node.events import Event, EventLog, Field
from cloud_node.identity import open_channel
from cloud_node.service import PinnedEndpoint
from cloud_node.witness import CONFLICT_KEY
from lanai.errors import LogRejected
from protos.lanai.v1alpha import log_pb2_grpc as stubs
from protos.lanai.v1alpha.log_pb2 import AddCheckpointRequest
from trust.log.checkpoint import Checkpoint
from trust.log.notes import VerifierKey, open_note, parse_vkey
from trust.log.transparency_log import TransparencyLog

__all__ = ["Publisher", "WitnessEndpoint", "WitnessPeer"]

TIMEOUT_S: Final = 5.0


class WitnessEndpoint(PinnedEndpoint):
    """A witness the log asks, and the key its cosignatures are checked with."""

    vkey: str


class WitnessPeer:
    """One witness, and the size it cosigned last as far as the log knows."""

    def __init__(self, endpoint: WitnessEndpoint) -> None:
        self.verifier: VerifierKey = parse_vkey(endpoint.vkey)
        self._channel = open_channel(endpoint.address, endpoint.certificate.encode())
        self._stub = stubs.WitnessStub(self._channel)
        self._size = 0

    async def cosign(self, log: TransparencyLog, note: bytes, size: int) -> str:
        """Its signature line over ``note``. Raises ``AioRpcError``; asks twice after a conflict."""
        try:
            return await self._ask(log, note, size)
        except aio.AioRpcError as error:
            self._size = _conflicting_size(error, size)
            return await self._ask(log, note, size)

    async def close(self) -> None:
        await self._channel.close(None)

    async def _ask(self, log: TransparencyLog, note: bytes, size: int) -> str:
        proof = log.consistency(self._size, size)
        request = AddCheckpointRequest(old_size=self._size, consistency=proof, note=note)
        answer = await self._stub.AddCheckpoint(request, timeout=TIMEOUT_S)
        self._size = size
        return answer.cosignature.decode("utf-8", "replace")


class Publisher:
    """Keeps readers' checkpoint cosigned and fresh. Not to be called concurrently."""

    def __init__(
        self,
        log: TransparencyLog,
        log_key: VerifierKey,
        witnesses: Sequence[WitnessPeer],
        *,
        quorum: int,
        events: EventLog,
    ) -> None:
        self._log = log
        self._log_key = log_key
        self._witnesses = witnesses
        self._quorum = quorum
        self._events = events

    async def publish(self) -> bool:
        """Publish the newest checkpoint; False, with the old one kept, when too few cosigned."""
        note = self._log.checkpoint()
        size = Checkpoint.parse(open_note(note, [self._log_key]).text).size
        answers = await asyncio.gather(*(self._cosigned(w, note, size) for w in self._witnesses))
        lines = [line for line in answers if line is not None]
        if len(lines) < self._quorum:
            return False
        self._log.publish(note + "".join(lines).encode())
        self._events.emit(Event.CHECKPOINT_SIGNED, {Field.SIZE: size})
        return True

    async def _cosigned(self, witness: WitnessPeer, note: bytes, size: int) -> str | None:
        """The witness's line, once it verified; None when the witness failed or lied."""
        try:
            line = await witness.cosign(self._log, note, size)
            opened = open_note(note + line.encode(), [self._log_key, witness.verifier])
        except (aio.AioRpcError, LogRejected) as error:
            self._events.emit(Event.LOG_UNAVAILABLE, error=error)
            return None
        return line if witness.verifier.name in opened.signers else None


def _conflicting_size(error: aio.AioRpcError, largest: int) -> int:
    """The size in a conflict, if it is one this log ever had. Raises ``error`` otherwise."""
    pairs: Iterable[Any] = error.trailing_metadata() or ()
    said = str(dict(pairs).get(CONFLICT_KEY, ""))
    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION or not said.isdecimal():
        raise error
    if int(said) > largest:
        raise error  # it saw a longer log: publishing now would hide a lost history
    return int(said)
