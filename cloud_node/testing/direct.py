"""A sealed request sent straight to a node's own port, as a client on its network may."""

from collections.abc import AsyncIterable, AsyncIterator

from cloud_node.identity import certificate_pem, open_channel
from protos.lanai.v1alpha import envelope_pb2, node_pb2, node_pb2_grpc
from trust.envelope import SealedChunk, SealedRequest
from trust.verification import VerifiedNode

__all__ = ["direct_answer", "opened_frames", "wire_frames"]


async def wire_frames(sealed: SealedRequest) -> AsyncIterator[node_pb2.InferRequest]:
    """The header, then the body's chunks."""
    yield node_pb2.InferRequest(header=sealed.header.to_proto())
    for chunk in sealed.chunks:
        yield node_pb2.InferRequest(chunk=chunk.to_proto())


async def opened_frames(
    sealed: SealedRequest, responses: AsyncIterable[node_pb2.InferResponse]
) -> AsyncIterator[envelope_pb2.AnswerFrame]:
    """What stands under the seal. Raises ``EnvelopeRejected`` and what ``responses`` raises."""
    async for response in responses:
        if response.WhichOneof("frame") == "server_nonce":
            sealed.opener.start(response.server_nonce)
            continue
        message = sealed.opener.open(SealedChunk.from_proto(response.chunk))
        if message is not None:
            yield envelope_pb2.AnswerFrame.FromString(message)


async def direct_answer(
    address: str, node: VerifiedNode, sealed: SealedRequest
) -> AsyncIterator[envelope_pb2.AnswerFrame]:
    """Opened frames. Raises ``AioRpcError`` for a refusal, ``EnvelopeRejected``."""
    async with open_channel(address, certificate_pem(node.tls_certificate)) as channel:
        responses = node_pb2_grpc.NodeStub(channel).Infer(wire_frames(sealed))
        async for frame in opened_frames(sealed, responses):
            yield frame
