"""Wire frames of one call, read within bounds. The chunks are sealed and stay so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from grpc import aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # absent from the stubs

from lanai.errors import CloudRefused, RefusalCode, StoreError
from protos.lanai.v1alpha import node_pb2
from trust.envelope import MAX_CHUNKS, EnvelopeHeader, SealedChunk

__all__ = ["Context", "chunks_of", "heard_out", "read_header"]

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


async def chunks_of(context: Context) -> AsyncIterator[bytes]:
    """The body's chunks, serialized, up to the marked last one; never more than a body has.

    Raises ``CloudRefused``, and ``EnvelopeRejected`` for a chunk that is too long.
    """
    for _ in range(MAX_CHUNKS):
        frame = await context.read()
        if frame is EOF or frame.WhichOneof("frame") != "chunk":
            raise CloudRefused("no chunk", refusal=RefusalCode.BAD_REQUEST)
        SealedChunk.from_proto(frame.chunk)
        yield frame.chunk.SerializeToString()
        if frame.chunk.last:
            return
    raise CloudRefused("too many chunks", refusal=RefusalCode.TOO_LARGE)
