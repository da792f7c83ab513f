"""Reads a device's frames, opened by `unsealing`, each and all within bounds."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from google.protobuf.message import DecodeError

from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha.gateway_pb2 import GatewayFrame, Open
from protos.lanai.v1alpha.node_pb2 import InferRequest
from trust.envelope import MAX_CHUNKS

__all__ = ["Frames", "read_open", "read_request"]


class Frames(Protocol):
    """Frames of one exchange, as `SealedFrames` gives them."""

    @property
    def ended(self) -> bool:
        """The marked last frame was read."""

    async def next(self) -> bytes | None:
        """The next one; None when there is none. Raises ``CloudRefused``."""


async def read_open(frames: Frames, *, timeout_s: float) -> Open:
    """The first frame: token and header. Raises ``CloudRefused``."""
    frame = await _next(frames, timeout_s)
    if frame.WhichOneof("frame") != "open":
        raise _bad("the first frame opens the exchange")
    return frame.open


async def read_request(opened: Open, frames: Frames, *, timeout_s: float) -> Sequence[InferRequest]:
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
            _require_end(frames)
            return request
    raise CloudRefused("too many chunks", refusal=RefusalCode.TOO_LARGE)


async def _next(frames: Frames, timeout_s: float) -> GatewayFrame:
    try:
        async with asyncio.timeout(timeout_s):
            frame = await frames.next()
        if frame is None:
            raise _bad("a frame is missing")
        return GatewayFrame.FromString(frame)
    except (DecodeError, TimeoutError):
        raise _bad("a frame that is late or not ours") from None


def _require_end(frames: Frames) -> None:
    """The body's last chunk comes in the outer seal's final one: nothing was cut off behind it."""
    if not frames.ended:
        raise _bad("something follows the last chunk")


def _bad(message: str) -> CloudRefused:
    return CloudRefused(message, refusal=RefusalCode.BAD_REQUEST)
