"""The device's half of one exchange, as payloads for the relay to carry."""

from collections.abc import AsyncGenerator, AsyncIterator

from protos.lanai.v1alpha.gateway_pb2 import GatewayFrame, Open, Spend
from trust.envelope import SealedRequest
from trust.tokens import Token

__all__ = ["Traffic", "owned", "request_frames"]


class Traffic:
    """Counts payload bytes both ways and whole frames received."""

    __slots__ = ("frames_received", "received", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.frames_received = 0

    async def sending(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """``frames``, counted as they are taken."""
        async for frame in frames:
            self.sent += len(frame)
            yield frame

    def count(self, frame: bytes) -> bytes:
        """``frame``, counted as received."""
        self.received += len(frame)
        self.frames_received += 1
        return frame


async def request_frames(sealed: SealedRequest, token: Token) -> AsyncIterator[bytes]:
    """What pays and the header, then the sealed body."""
    spend = Spend(
        token=token.bytes,
        holder_key=token.holder_key,
        holder_signature=token.sign(sealed.header.digest()),
    )
    opening = Open(spend=spend, header=sealed.header.to_proto())
    yield GatewayFrame(open=opening).SerializeToString()
    for chunk in sealed.chunks:
        yield GatewayFrame(chunk=chunk.to_proto()).SerializeToString()


async def owned(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """``frames`` as a generator, so that closing it closes them, whatever they are."""
    try:
        async for frame in frames:
            yield frame
    finally:
        close = getattr(frames, "aclose", None)
        if close is not None:
            await close()
