"""Reads a device's frames, each and all within bounds."""

import asyncio
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from cloud_node.intake import Intake
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha.gateway_pb2 import GatewayFrame, Opaque, Open
from protos.lanai.v1alpha.node_pb2 import InferRequest
from trust.envelope import MAX_CHUNKS

__all__ = ["read_open", "read_request"]

MAX_FRAME_BYTES: Final = 80 * 1024
"""A whole sealed chunk (64 KiB and its tag) or the longest header, with room for their framing."""


async def read_open(frames: Intake[Opaque], *, timeout_s: float) -> Open:
    """The first frame: token and header. Raises ``CloudRefused``."""
    frame = await _next(frames, timeout_s)
    if frame.WhichOneof("frame") != "open":
        raise _bad("the first frame opens the exchange")
    return frame.open


async def read_request(
    opened: Open, frames: Intake[Opaque], *, timeout_s: float
) -> Sequence[InferRequest]:
    """The header and every chunk up to the marked last one, as a node takes them.

    At most ``MAX_CHUNKS`` chunks of 64 KiB; ``timeout_s`` is for each. Raises ``CloudRefused``.
    """
    request = [InferRequest(header=opened.header)]
    for _ in range(MAX_CHUNKS):
        frame = await _next(frames, timeout_s)
        if frame.WhichOneof("frame") != "chunk":
            raise _bad("chunks follow the header")
        request.append(InferRequest(chunk=frame.chunk))
        if frame.chunk.last:
            return request
    raise CloudRefused("too many chunks", refusal=RefusalCode.TOO_LARGE)


async def _next(frames: Intake[Opaque], timeout_s: float) -> GatewayFrame:
    try:
        async with asyncio.timeout(timeout_s):
            frame = await frames.next()
        if frame is None:
            raise _bad("a frame is missing")
        if len(frame.payload) > MAX_FRAME_BYTES:
            raise CloudRefused("frame too large", refusal=RefusalCode.TOO_LARGE)
        return GatewayFrame.FromString(frame.payload)
    except (DecodeError, TimeoutError):
        raise _bad("a frame that is late or not ours") from None


def _bad(message: str) -> CloudRefused:
    return CloudRefused(message, refusal=RefusalCode.BAD_REQUEST)
