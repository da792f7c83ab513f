"""Wire frames of one call: reading them within bounds, and writing sealed ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from grpc import aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # absent from the stubs

from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, Rejection, StoreError
from protos.lanai.v1alpha import envelope_pb2, node_pb2
from trust.envelope import MAX_CHUNKS, AnswerSealer, EnvelopeHeader, SealedChunk

__all__ = ["Context", "heard_out", "read_chunks", "read_header", "refusal_of", "send"]

HEAR_OUT_S = 2.0

Context = aio.ServicerContext[node_pb2.InferRequest, node_pb2.InferResponse]


async def read_header(context: Context) -> EnvelopeHeader:
    """The first frame. Raises ``CloudRefused``, and ``EnvelopeRejected`` for a malformed header."""
    frame = await context.read()
    if frame is EOF or frame.WhichOneof("frame") != "header":
        raise CloudRefused("no header", refusal=RefusalCode.BAD_REQUEST)
    return EnvelopeHeader.from_proto(frame.header)


@asynccontextmanager
async def heard_out(context: Context) -> AsyncIterator[None]:
    """Let the peer finish sending before it is refused.

    A gRPC client whose write meets an ended call reports an internal error instead of the status,
    and a gateway could then not tell `busy` from broken.
    """
    try:
        yield
    except (CloudRefused, StoreError):
        with suppress(TimeoutError):
            async with asyncio.timeout(HEAR_OUT_S):
                for _ in range(MAX_CHUNKS + 1):
                    if await context.read() is EOF:
                        break
        raise


async def read_chunks(context: Context) -> list[SealedChunk]:
    """The body's chunks up to the marked last one, never more than a body has."""
    chunks: list[SealedChunk] = []
    while len(chunks) < MAX_CHUNKS:
        frame = await context.read()
        if frame is EOF or frame.WhichOneof("frame") != "chunk":
            raise CloudRefused("no chunk", refusal=RefusalCode.BAD_REQUEST)
        chunks.append(SealedChunk(data=frame.chunk.data, last=frame.chunk.last))
        if frame.chunk.last:
            return chunks
    raise CloudRefused("too many chunks", refusal=RefusalCode.TOO_LARGE)


async def send(
    context: Context, sealer: AnswerSealer, frame: envelope_pb2.AnswerFrame, *, last: bool
) -> None:
    """Seal one answer frame and write it, in as many wire frames as it takes."""
    for chunk in sealer.seal(frame.SerializeToString(), last=last):
        sealed = envelope_pb2.Chunk(data=chunk.data, last=chunk.last)
        await context.write(node_pb2.InferResponse(chunk=sealed))


def refusal_of(error: EnvelopeRejected) -> CloudRefused:
    """What the peer is told of an envelope that was rejected: no reason that could be probed."""
    codes = {
        Rejection.EXPIRED: RefusalCode.EXPIRED,
        Rejection.TOO_LARGE: RefusalCode.TOO_LARGE,
    }
    code = codes.get(error.reason, RefusalCode.ENVELOPE_REJECTED)
    return CloudRefused("the envelope was rejected", refusal=code)
