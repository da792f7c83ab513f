"""The shape of the stream: which frame of an answer leaves when. Sans-IO; the clock is passed in.

``padded``: each message when it comes, in frames of one size. Their number and times show.

``constant``: one frame at each tick of a clock that starts with the request, and a total from few
buckets (`trust.envelope.shape` has both, with reasons). Text that came since the last tick leaves
together, as much as one frame holds; when there is nothing to say, a filler does. A message longer
than a frame, such as a tool call, takes one tick a frame. What ends the answer, be it the final
record or a failure, is held until the last frames of the bucket: up to there a failure, a short and
a long answer look alike. The device gets text at the tick it is ready for, the end with the bucket.

A sender's loop, which starts the clock before it so much as parses the prompt:

    shaper = shaper_of(shape, now=clock())
    ...                                          shaper.add(frame, last=False) as frames come
    for frame, last in shaper.due(clock()):      write(sealer.seal_frame(frame, last=last))
    wait at most shaper.next_due(clock())        None: until something is added, or all is sent
"""

from collections import deque
from typing import Protocol

from lanai.errors import CloudRefused, RefusalCode, UsageError
from protos.lanai.v1alpha.envelope_pb2 import CONSTANT, PADDED, SHAPE_UNSPECIFIED, AnswerFrame
from trust.envelope import FRAME_ROOM, TICK_S, constant_total, frames

__all__ = ["ConstantShaper", "PaddedShaper", "Shaper", "shaper_of"]

TEXT_ROOM = FRAME_ROOM - 3
"""Bytes of text in one frame: the rest is protobuf's tag and length."""
CONTINUATION_MASK, CONTINUATION = 0xC0, 0x80


class Shaper(Protocol):
    """Takes answer frames as they come, gives wire frames when they are due."""

    def add(self, frame: AnswerFrame, *, last: bool) -> None:
        """Queue one; ``last`` is the final record or the failure. Raises ``UsageError`` after it.

        Raises ``EnvelopeRejected`` (``TOO_LARGE``) for a message that no answer may hold.
        """

    def due(self, now: float) -> list[tuple[bytes, bool]]:
        """What to send now: wire frames for ``AnswerSealer.seal_frame``, each with ``last``."""

    def next_due(self, now: float) -> float | None:
        """Seconds until ``due`` has something; ``None``: when something is added, or never."""


def shaper_of(shape: int, *, now: float) -> Shaper:
    """The shaper of a ``RequestBody.shape``; ``now``, in seconds, is when the request came.

    Raises ``CloudRefused`` (``bad_request``) for a shape that is not known.
    """
    if shape in (SHAPE_UNSPECIFIED, PADDED):
        return PaddedShaper()
    if shape == CONSTANT:
        return ConstantShaper(now)
    raise CloudRefused("an unknown shape", refusal=RefusalCode.BAD_REQUEST)


class PaddedShaper:
    """``padded``: at once."""

    def __init__(self) -> None:
        self._ready: list[tuple[bytes, bool]] = []
        self._ended = False

    def add(self, frame: AnswerFrame, *, last: bool) -> None:
        if self._ended:
            raise _ended()
        self._ended = last
        message = frame.SerializeToString()
        self._ready.extend((piece, last and ends) for piece, ends in frames(message))

    def due(self, now: float) -> list[tuple[bytes, bool]]:
        ready, self._ready = self._ready, []
        return ready

    def next_due(self, now: float) -> float | None:
        return 0.0 if self._ready else None

    def __repr__(self) -> str:
        return f"PaddedShaper({len(self._ready)} frames)"


class ConstantShaper:
    """``constant``: frame i leaves i ticks after ``begun``; those that are late leave together."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._sent = 0
        self._text = bytearray()
        self._ready: deque[bytes] = deque()
        self._closing: deque[bytes] = deque()
        self._total: int | None = None

    def add(self, frame: AnswerFrame, *, last: bool) -> None:
        if self._total is not None:
            raise _ended()
        if frame.WhichOneof("kind") == "text" and not last:
            self._text += frame.text.encode()
            return
        pieces = _wire(frame)
        while self._text:
            self._ready.extend(self._cut())
        if not last:
            self._ready.extend(pieces)
            return
        self._closing.extend(pieces)
        self._total = constant_total(self._sent + len(self._ready) + len(self._closing))

    def due(self, now: float) -> list[tuple[bytes, bool]]:
        frames_due: list[tuple[bytes, bool]] = []
        while not self._finished and self._next_tick() <= now:
            frames_due.append(self._next_frame())
        return frames_due

    def next_due(self, now: float) -> float | None:
        return None if self._finished else max(0.0, self._next_tick() - now)

    @property
    def _finished(self) -> bool:
        return self._sent == self._total

    def _next_tick(self) -> float:
        return self._begun + (self._sent + 1) * TICK_S

    def _next_frame(self) -> tuple[bytes, bool]:
        left = None if self._total is None else self._total - self._sent
        self._sent += 1
        if left is not None and left <= len(self._closing):
            return self._closing.popleft(), self._finished
        if not self._ready:
            self._ready.extend(self._cut() if self._text else _wire(AnswerFrame(filler=True)))
        return self._ready.popleft(), False

    def _cut(self) -> list[bytes]:
        """As much of the text as one frame holds, up to a whole character."""
        end = min(TEXT_ROOM, len(self._text))
        while end < len(self._text) and self._text[end] & CONTINUATION_MASK == CONTINUATION:
            end -= 1
        piece = self._text[:end].decode()
        del self._text[:end]
        return _wire(AnswerFrame(text=piece))

    def __repr__(self) -> str:
        return f"ConstantShaper({self._sent} frames sent)"


def _wire(frame: AnswerFrame) -> list[bytes]:
    return [piece for piece, _ in frames(frame.SerializeToString())]


def _ended() -> UsageError:
    return UsageError("the answer has ended", hint="nothing follows its last frame")
