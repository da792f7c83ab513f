"""Changes to valid inputs that a parser of lengths, fields and text has to survive.

Each is a function of the bytes and two numbers, so that hypothesis can shrink it and a
coverage-guided fuzzer can draw it. Protocol buffers are taken apart and put together again with
right lengths, so that a change deep inside is reached.
"""

import re
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["MUTATIONS", "mutated", "spliced"]

HUGE_VARINT = b"\xff" * 9 + b"\x01"
EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0x7FFF,
    0x8000,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
WIDTHS = (1, 2, 4, 8)
LARGEST_GROWTH = 2**18
TEXTS = (
    b"9" * 400,
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b'"\\ud800"',
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b"\n\n",
    b"\xe2\x80\x94 a b\n",
    b"\x00",
)
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
Mutation = Callable[[bytes, int, int], bytes]


def flip(data: bytes, place: int, value: int) -> bytes:
    """One bit."""
    at = place % len(data)
    return data[:at] + bytes([data[at] ^ 1 << value % 8]) + data[at + 1 :]


def insert(data: bytes, place: int, value: int) -> bytes:
    """Up to eight bytes."""
    at = place % (len(data) + 1)
    return data[:at] + value.to_bytes(8, "big")[value % 8 :] + data[at:]


def delete(data: bytes, place: int, value: int) -> bytes:
    """A stretch of up to 64 bytes."""
    at = place % len(data)
    return data[:at] + data[at + 1 + value % 64 :]


def duplicate(data: bytes, place: int, value: int) -> bytes:
    """A stretch, twice."""
    at = place % len(data)
    end = at + 1 + value % 300
    return data[:end] + data[at:end] + data[end:]


def cut(data: bytes, place: int, value: int) -> bytes:
    """Everything from some place on."""
    return data[: place % len(data)]


def number(data: bytes, place: int, value: int) -> bytes:
    """An extreme integer of one to eight bytes, in either order, over what is there."""
    width = WIDTHS[value % 4]
    extreme = EXTREMES[value // 4 % len(EXTREMES)] % 2 ** (8 * width)
    order = "big" if value & 1024 else "little"
    at = place % len(data)
    return data[:at] + extreme.to_bytes(width, order) + data[at + width :]


def length(data: bytes, place: int, value: int) -> bytes:
    """A varint of 64 bits where something shorter was."""
    at = place % len(data)
    return data[:at] + HUGE_VARINT + data[at + 1 + value % 2 :]


def grow(data: bytes, place: int, value: int) -> bytes:
    """Far more of one byte than anybody needs."""
    at = place % (len(data) + 1)
    return data[:at] + bytes([value % 256]) * (LARGEST_GROWTH >> value // 256 % 12) + data[at:]


def text(data: bytes, place: int, value: int) -> bytes:
    """A decimal number becomes something that is hard to read; without one, it is put in."""
    found = list(_NUMBER.finditer(data))
    hard = TEXTS[value % len(TEXTS)]
    if not found:
        at = place % (len(data) + 1)
        return data[:at] + hard + data[at:]
    start, end = found[place % len(found)].span()
    return data[:start] + hard + data[end:]


def field(data: bytes, place: int, value: int) -> bytes:
    """One field of a protocol buffer, at any depth: gone, twice, empty, long, of another type."""
    fields = _fields(data)
    if not fields:
        return flip(data, place, value) if data else data
    chosen = fields[place % len(fields)]
    inner = data[chosen.content : chosen.end]
    if chosen.wire == 2 and value & 1 and _fields(inner):
        inner = field(inner, place // len(fields), value >> 1)
        changed = data[chosen.start : chosen.tag_end] + _varint(len(inner)) + inner
    else:
        changed = _edited(data, chosen, value >> 1)
    return data[: chosen.start] + changed + data[chosen.end :]


MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        change.__name__: change
        for change in (flip, insert, delete, duplicate, cut, number, length, grow, text, field)
    }
)


def spliced(first: bytes, second: bytes, place: int, value: int) -> bytes:
    """The head of one input and the tail of another."""
    return first[: place % (len(first) + 1)] + second[value % (len(second) + 1) :]


def mutated(data: bytes, random: Random) -> bytes:
    """One to four changes drawn from ``random``."""
    for _ in range(random.randint(1, 4)):
        if data:
            change = MUTATIONS[random.choice(tuple(MUTATIONS))]
            data = change(data, random.getrandbits(32), random.getrandbits(32))
    return data


class _Field(NamedTuple):
    start: int
    tag_end: int
    content: int
    end: int
    wire: int


def _fields(data: bytes) -> list[_Field]:
    """Fields of a message; none when ``data`` does not parse as one."""
    found, at = [], 0
    while at < len(data):
        tag = _read_varint(data, at)
        if tag is None or tag[0] >> 3 == 0:
            return []
        wire, content = tag[0] & 7, tag[1]
        match wire:
            case 0:
                value = _read_varint(data, content)
                end = value[1] if value else -1
            case 1:
                end = content + 8
            case 2:
                value = _read_varint(data, content)
                content, end = (value[1], value[1] + value[0]) if value else (content, -1)
            case 5:
                end = content + 4
            case _:
                return []
        if not 0 <= end <= len(data):
            return []
        found.append(_Field(at, tag[1], content, end, wire))
        at = end
    return found


def _edited(data: bytes, chosen: _Field, value: int) -> bytes:
    whole = data[chosen.start : chosen.end]
    tag = data[chosen.start : chosen.tag_end]
    match value % 6:
        case 0:
            return b""
        case 1:
            return whole * (2 + value // 6 % 200)
        case 2:
            return tag + b"\x00"
        case 3:
            return tag + _varint(LARGEST_GROWTH) + bytes(LARGEST_GROWTH)
        case 4:
            return (
                bytes([tag[0] ^ 1 << value // 6 % 3]) + tag[1:] + data[chosen.tag_end : chosen.end]
            )
        case _:
            return tag + HUGE_VARINT + data[chosen.content : chosen.end]


def _read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """Value and the place behind it."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    return None


def _varint(value: int) -> bytes:
    groups = [value >> shift for shift in range(0, max(value.bit_length(), 1), 7)]
    marks = [0x80] * (len(groups) - 1) + [0]
    return bytes(group & 0x7F | mark for group, mark in zip(groups, marks, strict=True))
