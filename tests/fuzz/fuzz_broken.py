"""Parsers with a bug each: what the fuzzers must find, or they find nothing."""

from collections.abc import Sequence

from fuzz_target import Target

from lanai.errors import UsageError

__all__ = ["TARGETS"]


def _seeds() -> Sequence[bytes]:
    return [b"\x00\x01a"]


def _foreign(data: bytes) -> bytes:
    """Reads past the end when the length is one too long."""
    size = int.from_bytes(data[:2], "big")
    if size > 64:
        raise UsageError("too long")
    return bytes([data[2 + size - 1]])


def _greedy(data: bytes) -> int:
    """Believes a length."""
    return len(bytes(int.from_bytes(data[:4], "big") % 2**26))


def _loose(data: bytes) -> bytes:
    """Drops what it does not know."""
    return data[2 : 2 + int.from_bytes(data[:2], "big")]


def _written(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


TARGETS: tuple[Target, ...] = (
    Target("foreign", _foreign, _seeds),
    Target("greedy", _greedy, _seeds),
    Target("loose", _loose, _seeds, _written),
)
