"""Several frames as one input: each with its length in three bytes; the last may be cut short."""

from collections.abc import Iterable, Iterator

__all__ = ["framed", "unframed"]

LENGTH_BYTES = 3
MAX_FRAMES = 4096


def framed(frames: Iterable[bytes]) -> bytes:
    """Every frame with its length in front."""
    return b"".join(len(frame).to_bytes(LENGTH_BYTES, "big") + frame for frame in frames)


def unframed(data: bytes) -> Iterator[bytes]:
    """The frames of any bytes at all, so that the fuzzer is never refused here."""
    at = 0
    for _ in range(MAX_FRAMES):
        if at >= len(data):
            return
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        yield data[start:at]
