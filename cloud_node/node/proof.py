"""The node's reader of the transparency log: the proof its bundle carries."""

from typing import Protocol

import grpc

from cloud_node.identity import open_channel
from cloud_node.service import PinnedEndpoint
from lanai.errors import CloudUnavailable
from protos.lanai.v1alpha import log_pb2, log_pb2_grpc
from trust.bundle import LogProof

__all__ = ["LogReader", "ProofSource"]

TIMEOUT_S = 5.0


class ProofSource(Protocol):
    """Where inclusion proofs come from."""

    async def inclusion(self, leaf_hash: bytes) -> LogProof:
        """Proof for a leaf in the newest cosigned checkpoint. Raises ``CloudUnavailable``."""

    async def close(self) -> None:
        """Give up the connection."""


class LogReader:
    """``Log.Inclusion`` over a channel pinned to the log's certificate."""

    def __init__(self, endpoint: PinnedEndpoint) -> None:
        self._channel = open_channel(endpoint.address, endpoint.certificate.encode())
        self._stub = log_pb2_grpc.LogStub(self._channel)

    async def inclusion(self, leaf_hash: bytes) -> LogProof:
        request = log_pb2.InclusionRequest(leaf_hash=leaf_hash)
        try:
            answer = await self._stub.Inclusion(request, timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise CloudUnavailable(
                f"the log gives no inclusion proof ({error.code().name.lower()})",
                hint="is this release published? see `lanai cloud status` and `lanai log show`",
            ) from None
        return LogProof(index=answer.index, hashes=tuple(answer.hashes), checkpoint=answer.note)

    async def close(self) -> None:
        await self._channel.close(None)
