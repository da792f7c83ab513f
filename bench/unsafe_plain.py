"""The same path without any seal, to compare with: relay, gateway and node proxy plain frames.

The answer is in frames of the envelope's one size, so that both paths carry the same bytes. No
token, no attestation, no encryption but TLS. Nothing of the product imports this.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from grpc import aio

from cloud_node.gateway.dispatch import dispatch
from cloud_node.gateway.roster import NodeEntry
from cloud_node.identity import TlsIdentity, open_channel, server_credentials
from cloud_node.service import start_grpc
from cloud_node.testing.inline import Frames
from cloud_node.tree.request import read_request
from device_agent.cloud import CloudRequest, Transport
from device_agent.cloud.request import encode_body
from protos.lanai.v1alpha import envelope_pb2, gateway_pb2_grpc, node_pb2
from protos.lanai.v1alpha.gateway_pb2 import GatewayFrame, Opaque, Open
from trust.envelope.chunks import TAG_BYTES
from trust.envelope.framing import FRAME_BYTES, MessageAssembler, frames, pad, split, unpad

__all__ = ["UnsafePlainGateway", "UnsafePlainNode", "unsafe_plain_answer"]

SERVICE: Final = node_pb2.DESCRIPTOR.services_by_name["Node"].full_name
TIMEOUT_S: Final = 60.0
TAG: Final = bytes(TAG_BYTES)


class UnsafePlainNode:
    """A node's port that reads and writes plain text."""

    def __init__(self, answer: Frames) -> None:
        self._answer = answer
        self._server: aio.Server | None = None

    async def start(self) -> aio.Channel:
        """Listen on a free port; returns a channel to it."""
        identity = TlsIdentity.generate("plain")
        self._server, address = await start_grpc(self._register, server_credentials(identity))
        return open_channel(address, identity.certificate_pem)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    def _register(self, server: aio.Server) -> None:
        handler = grpc.stream_stream_rpc_method_handler(
            self._infer, node_pb2.InferRequest.FromString, node_pb2.InferResponse.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Infer": handler}),)
        )

    async def _infer(self, requests: AsyncIterator[node_pb2.InferRequest], context: Any) -> None:
        body = b"".join([frame.chunk.data[:-TAG_BYTES] async for frame in requests])
        asked = read_request(unpad(body))
        async for message in self._answer(asked):
            last = message.HasField("final")
            for frame, ends in frames(message.SerializeToString()):
                chunk = envelope_pb2.Chunk(data=frame + TAG, last=last and ends)
                await context.write(node_pb2.InferResponse(chunk=chunk))


@dataclass(slots=True)
class _Entry:
    """What `dispatch` reads of a ``NodeEntry``."""

    infer: Any
    in_flight: int = 0


class UnsafePlainGateway(gateway_pb2_grpc.GatewayServicer):
    """Reads frames in the clear, asks nobody for a token, and proxies as the real one does."""

    def __init__(self, node: aio.Channel) -> None:
        infer = node.stream_stream(
            f"/{SERVICE}/Infer",
            request_serializer=node_pb2.InferRequest.SerializeToString,
            response_deserializer=None,
        )
        self._entries = [cast("NodeEntry", _Entry(infer))]

    async def Exchange(  # noqa: N802  the wire's name
        self, request_iterator: AsyncIterator[Opaque], context: Any
    ) -> AsyncIterator[Opaque]:
        """The whole request, then the node's frames as they come."""
        request = [node_pb2.InferRequest()]
        async for frame in request_iterator:
            read = GatewayFrame.FromString(frame.payload)
            if read.HasField("chunk"):
                request.append(node_pb2.InferRequest(chunk=read.chunk))
        async with aclosing(dispatch(request, self._entries, timeout_s=TIMEOUT_S)) as answer:
            async for payload in answer:
                yield Opaque(payload=payload)

    async def Fetch(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Not measured."""
        raise NotImplementedError

    async def Keys(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Not measured."""
        raise NotImplementedError


async def unsafe_plain_answer(transport: Transport, request: CloudRequest) -> AsyncIterator[str]:
    """Ask over the plain path; pieces of text as they come."""
    assembler = MessageAssembler()
    async for payload in transport.exchange(_frames(encode_body(request))):
        chunk = node_pb2.InferResponse.FromString(payload).chunk
        message = assembler.push(chunk.data[:FRAME_BYTES], last=chunk.last)
        if message is not None:
            answer = envelope_pb2.AnswerFrame.FromString(message)
            if answer.HasField("text"):
                yield answer.text


async def _frames(body: bytes) -> AsyncIterator[bytes]:
    yield GatewayFrame(open=Open()).SerializeToString()
    for piece, last in split(pad(body)):
        chunk = envelope_pb2.Chunk(data=piece + TAG, last=last)
        yield GatewayFrame(chunk=chunk).SerializeToString()
