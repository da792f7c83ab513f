"""What the gateway asks of the transparency log: leaves, and proofs of leaves and of history."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from grpc import aio

from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import log_pb2, log_pb2_grpc
from trust.bundle import LogProof

__all__ = ["LogReader", "LogView"]

LOG_TIMEOUT_S: Final = 5.0
AT_ONCE: Final = 8


class LogView(Protocol):
    """The log as its readers see it. All of it is outside data."""

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        """Hashes of the proof. Raises ``CloudRefused`` for sizes no log has."""

    async def inclusion(self, leaf_hash: bytes) -> LogProof:
        """Proof of a leaf in the newest cosigned checkpoint."""

    async def entries(self, start: int, count: int) -> Sequence[bytes]:
        """At most ``count`` leaves from ``start`` on; none at the end of the log."""


class LogReader:
    """`LogView` over a channel pinned to the log's certificate; gRPC's errors pass through."""

    def __init__(self, channel: aio.Channel) -> None:
        self._log = log_pb2_grpc.LogStub(channel)
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        if not 0 < old_size <= new_size < 2**63:
            raise CloudRefused("sizes", refusal=RefusalCode.BAD_REQUEST)
        request = log_pb2.LogConsistencyRequest(old_size=old_size, new_size=new_size)
        async with self._slots:
            response = await self._log.Consistency(request, timeout=LOG_TIMEOUT_S)
        return tuple(response.hashes)

    async def inclusion(self, leaf_hash: bytes) -> LogProof:
        request = log_pb2.InclusionRequest(leaf_hash=leaf_hash)
        async with self._slots:
            answer = await self._log.Inclusion(request, timeout=LOG_TIMEOUT_S)
        return LogProof(index=answer.index, hashes=tuple(answer.hashes), checkpoint=answer.note)

    async def entries(self, start: int, count: int) -> Sequence[bytes]:
        request = log_pb2.EntriesRequest(start=start, count=count)
        async with self._slots:
            answer = await self._log.Entries(request, timeout=LOG_TIMEOUT_S)
        return tuple(answer.leaves[:count])
