"""Sizes that say little: a padded request body, and an answer in frames of one size.

A body is padded to a Padmé bucket (Nikitin et al., PURBs, PETS 2019, section 4), never below 4 KiB:
at most 12 % is added, and the length leaks O(log log n) bits. Answers go in frames of one size,
``FRAME_BYTES``: room for a token's text and for a usual final record, so that an answer shows how
many pieces it has, not how long they are.
"""

from collections.abc import Iterator

from lanai.errors import EnvelopeRejected, Rejection
from trust.envelope.chunks import CHUNK_BYTES
from trust.envelope.header import HINT

__all__ = [
    "FRAME_BYTES",
    "FRAME_ROOM",
    "MAX_BODY_BYTES",
    "MAX_CHUNKS",
    "MAX_FRAMES",
    "MAX_MESSAGE_BYTES",
    "MessageAssembler",
    "frames",
    "pad",
    "padded_size",
    "split",
    "unpad",
]

LENGTH_BYTES = 4
SMALLEST_BODY = 4096
MAX_BODY_BYTES = 1024 * 1024
FRAME_BYTES = 256
"""Plaintext of one answer frame: two bytes of length, up to 254 of message, zeros."""
FRAME_HEADER_BYTES = 2
FRAME_ROOM = FRAME_BYTES - FRAME_HEADER_BYTES
"""Message bytes of one answer frame."""
CONTINUES = 0x8000
MAX_MESSAGE_BYTES = 64 * 1024
MAX_FRAMES = 2**20


def padded_size(size: int) -> int:
    """The bucket that ``size`` bytes fall into, in bytes."""
    if size <= SMALLEST_BODY:
        return SMALLEST_BODY
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


MAX_CHUNKS = -(-padded_size(LENGTH_BYTES + MAX_BODY_BYTES) // CHUNK_BYTES)


def pad(body: bytes) -> bytes:
    """``length (4 bytes, big-endian) || body || zeros``.

    Raises ``EnvelopeRejected`` (``TOO_LARGE``).
    """
    if len(body) > MAX_BODY_BYTES:
        raise EnvelopeRejected(
            f"request of {len(body)} bytes, at most {MAX_BODY_BYTES}",
            reason=Rejection.TOO_LARGE,
            hint="shorten the conversation",
        )
    framed = len(body).to_bytes(LENGTH_BYTES, "big") + body
    return framed.ljust(padded_size(len(framed)), b"\x00")


def unpad(padded: bytes) -> bytes:
    """The body inside. Raises ``EnvelopeRejected`` (``MALFORMED``) for any other padding."""
    size = int.from_bytes(padded[:LENGTH_BYTES], "big")
    end = LENGTH_BYTES + size
    if len(padded) != padded_size(end) or padded.count(0, end) != len(padded) - end:
        raise _malformed("the body is not padded as agreed")
    return padded[LENGTH_BYTES:end]


def split(padded: bytes) -> Iterator[tuple[bytes, bool]]:
    """Pieces of ``CHUNK_BYTES`` (the last may be shorter), each with whether it is the last."""
    for start in range(0, len(padded), CHUNK_BYTES):
        yield padded[start : start + CHUNK_BYTES], start + CHUNK_BYTES >= len(padded)


def frames(message: bytes) -> Iterator[tuple[bytes, bool]]:
    """Frames of exactly ``FRAME_BYTES``, each with whether it ends the message.

    The first two bytes hold the number of message bytes in the frame; their top bit says that the
    message goes on. Raises ``EnvelopeRejected`` (``TOO_LARGE``).
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise _too_large()
    for start in range(0, max(len(message), 1), FRAME_ROOM):
        piece = message[start : start + FRAME_ROOM]
        ends = start + FRAME_ROOM >= len(message)
        head = len(piece) | (0 if ends else CONTINUES)
        yield (head.to_bytes(2, "big") + piece).ljust(FRAME_BYTES, b"\x00"), ends


class MessageAssembler:
    """Puts messages together from frames; holds one message at most."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def push(self, frame: bytes, *, last: bool) -> bytes | None:
        """A whole message, or ``None`` when it goes on.

        Raises ``EnvelopeRejected``: ``MALFORMED``, ``TOO_LARGE``, or ``TRUNCATED`` when the stream
        ends inside a message.
        """
        piece, goes_on = _parse_frame(frame)
        if goes_on and last:
            raise EnvelopeRejected(
                "the answer ends inside a message", reason=Rejection.TRUNCATED, hint=HINT
            )
        if self._size + len(piece) > MAX_MESSAGE_BYTES:
            raise _too_large()
        self._pieces.append(piece)
        self._size += len(piece)
        if goes_on:
            return None
        message = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return message

    def __repr__(self) -> str:
        return f"MessageAssembler({self._size} bytes)"


def _parse_frame(frame: bytes) -> tuple[bytes, bool]:
    if len(frame) != FRAME_BYTES:
        raise _malformed("an answer frame of the wrong size")
    head = int.from_bytes(frame[:FRAME_HEADER_BYTES], "big")
    goes_on, size = bool(head & CONTINUES), head & ~CONTINUES
    end = FRAME_HEADER_BYTES + size
    if size > FRAME_ROOM or (goes_on and size != FRAME_ROOM) or any(frame[end:]):
        raise _malformed("an answer frame is not framed as agreed")
    return frame[FRAME_HEADER_BYTES:end], goes_on


def _malformed(message: str) -> EnvelopeRejected:
    return EnvelopeRejected(message, reason=Rejection.MALFORMED, hint=HINT)


def _too_large() -> EnvelopeRejected:
    return EnvelopeRejected(
        f"an answer message of more than {MAX_MESSAGE_BYTES} bytes",
        reason=Rejection.TOO_LARGE,
        hint="send the answer in smaller pieces",
    )
