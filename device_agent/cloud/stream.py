"""The answer as it arrives: frames opened one by one, text handed on, the end proved.

    nonce ──▶ frame ──▶ … ──▶ frame (marked last, holds the final record)

What breaks before the marked last frame is no answer, whatever was shown of it. Fillers are taken
in an answer of the ``constant`` shape alone, and such an answer has a total of that shape: else the
node did not keep to what was asked, and the receipt would say what is not so.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from google.protobuf.message import DecodeError

from device_agent.cloud.exchange import Traffic
from device_agent.cloud.forms import call_from
from device_agent.cloud.transport import refused
from device_agent.cloud.values import CloudFinal, Disclosure, Receipt, Timing
from device_agent.cloud_seam import StreamShape
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import (
    CloudRefused,
    CloudUnavailable,
    DeadlineExceeded,
    EnvelopeRejected,
    RefusalCode,
    Rejection,
    StreamInterrupted,
    UsageError,
)
from protos.lanai.v1alpha.envelope_pb2 import AnswerFrame, Final
from protos.lanai.v1alpha.node_pb2 import InferResponse
from trust.envelope import AnswerOpener, SealedChunk, is_constant_total
from trust.verification import VerifiedNode

__all__ = ["CloudStream"]

HINT = "the answer is not used; ask again"


class CloudStream:
    """One answer. Iterate it once, to its end; then ``final`` and ``receipt`` are there."""

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        opener: AnswerOpener,
        nodes: Mapping[bytes, VerifiedNode],
        traffic: Traffic,
        *,
        deadline: float,
        shape: StreamShape = "padded",
        preparation: tuple[Timing, ...] = (),
    ) -> None:
        """``deadline`` is in the loop's time; ``nodes`` are those it was sealed to, by id.

        ``shape`` is what was asked for.
        """
        self.preparation = preparation
        """What it took to get here (verify, token, seal), since ``open`` began."""
        self._frames = frames
        self._opener = opener
        self._nodes = dict(nodes)
        self._traffic = traffic
        self._deadline = deadline
        self._shape: StreamShape = shape
        self._opened = 0
        self._final: CloudFinal | None = None
        self._iterated = False

    @property
    def final(self) -> CloudFinal:
        """The last record. Raises ``StreamInterrupted`` before the end."""
        if self._final is None:
            raise self._interrupted()
        return self._final

    @property
    def receipt(self) -> Receipt:
        """Who answered. Raises ``StreamInterrupted`` before the end."""
        if self._final is None or self._opener.node_id is None:
            raise self._interrupted()
        return Receipt.of(self._nodes[self._opener.node_id], self._shape)

    @property
    def disclosure(self) -> Disclosure:
        """What left and came so far, at any time."""
        return Disclosure(
            bytes_sent=self._traffic.sent,
            bytes_received=self._traffic.received,
            nodes=tuple(node_id.hex() for node_id in self._nodes),
        )

    async def begin(self) -> None:
        """Wait for the node's nonce. Raises ``CloudError``, ``EnvelopeRejected``."""
        response = await self._next()
        if response.WhichOneof("frame") != "server_nonce":
            raise _not_an_answer()
        self._opener.start(response.server_nonce)

    async def __aiter__(self) -> AsyncGenerator[Content | ToolCall, None]:
        """Pieces of text and whole calls as they come.

        Raises ``StreamInterrupted`` when it breaks before the marked last frame, ``CloudRefused``
        when the node failed and said so under the seal, ``DeadlineExceeded``, and
        ``EnvelopeRejected`` for a frame that does not open.
        """
        if self._iterated:
            raise UsageError("an answer is iterated once", hint="keep its pieces")
        self._iterated = True
        async with aclosing(self._frames):
            while not self._opener.finished:
                message = await self._next_message()
                if message is not None and (piece := self._take(message)) is not None:
                    yield piece
        if self._final is None:
            raise _not_an_answer()

    async def close(self) -> None:
        """Cancel the request, if it still runs. Idempotent."""
        await self._frames.aclose()

    async def _next_message(self) -> bytes | None:
        response = await self._next()
        if response.WhichOneof("frame") != "chunk":
            raise _not_an_answer()
        self._opened += 1
        return self._opener.open(SealedChunk.from_proto(response.chunk))

    async def _next(self) -> InferResponse:
        """1 the next frame in time, 2 every break as its error, 3 parsed."""
        begun = self._traffic.frames_received > 0
        try:
            async with asyncio.timeout_at(self._deadline):
                frame = await anext(self._frames)
        except TimeoutError:
            raise DeadlineExceeded(
                "the answer did not end in time", hint="allow more time or fewer tokens"
            ) from None
        except StopAsyncIteration:
            raise self._interrupted() from None
        except (CloudUnavailable, CloudRefused) as error:
            # Before the first frame it is a refusal and may be tried again. Later it is a break.
            if not begun:
                raise
            raise self._interrupted() from error
        try:
            return InferResponse.FromString(self._traffic.count(frame))
        except DecodeError:
            raise _not_an_answer() from None

    def _take(self, message: bytes) -> Content | ToolCall | None:
        try:
            frame = AnswerFrame.FromString(message)
        except DecodeError:
            raise _not_an_answer() from None
        match frame.WhichOneof("kind"):
            case "text" if self._final is None:
                return Content(frame.text)
            case "tool_call" if self._final is None and frame.tool_call.id:
                return call_from(frame.tool_call)
            case "filler" if self._fills and frame.filler:
                return None
            case "final" if self._opener.finished and self._whole:
                self._final = _final(frame.final)
                return None
            case "failure":
                raise refused(_refusal(frame.failure))
            case _:
                raise _not_an_answer()

    @property
    def _fills(self) -> bool:
        """Whether a filler may be here."""
        return self._shape == "constant" and not self._opener.finished

    @property
    def _whole(self) -> bool:
        """Whether an answer of the asked shape may end here."""
        return self._shape == "padded" or is_constant_total(self._opened)

    def _interrupted(self) -> StreamInterrupted:
        return StreamInterrupted(
            "the answer broke off", received=self._traffic.frames_received, hint=HINT
        )

    def __repr__(self) -> str:
        return f"CloudStream({self._opener!r}, {self._traffic.frames_received} frames)"


def _final(message: Final) -> CloudFinal:
    return CloudFinal(
        finish_reason=message.finish_reason,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        model=message.model,
        timings=tuple(
            Timing(name=item.name, start_us=item.start_us, duration_us=item.duration_us)
            for item in message.timings
        ),
    )


def _refusal(word: str) -> RefusalCode:
    try:
        return RefusalCode(word)
    except ValueError:
        return RefusalCode.INTERNAL


def _not_an_answer() -> EnvelopeRejected:
    return EnvelopeRejected(
        "the answer is not of this protocol", reason=Rejection.MALFORMED, hint=HINT
    )
