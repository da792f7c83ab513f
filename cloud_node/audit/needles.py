"""What a text and its token ids look like in memory and files: one needle for each form.

| form | who holds text or ids so |
|---|---|
| utf-8, utf-16, utf-32 | files, sockets, protobuf; CPython's strings, by their widest character |
| base64, hex | JSON, headers, logs; base64 at its three alignments |
| ids as 2, 4, 8 byte integers and as floats | numpy, torch, Rust's ``Vec<u32>``, C++ vectors |
| ids as msgpack, protobuf varints, decimals | wires and logs |
| ids as python ints | lists and tuples: 32-byte blocks in the order they were made |

Each needle is a stretch of the whole, so a part that survived is found: windows of 24 characters,
of 8 ids or more.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgpack

__all__ = ["SHORTEST", "Needle", "answer_needles", "id_needles", "text_needles"]

SHORTEST: Final = 23
"""Bytes of the shortest needle: it then covers two aligned words wherever it lies."""
TEXT: Final = ("utf-8", "utf-16-le", "utf-32-le")
"""A needle in little-endian order finds big-endian text as well, one byte further on."""
LETTERS: Final = 24
STRIDE: Final = 8
IDS: Final = 8
INT_BYTES: Final = 32
LARGEST_SHARED_INT: Final = 256
"""CPython keeps one object for each int up to this: a list of them holds pointers only."""

_Packer = Callable[[Sequence[int]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """``data`` as it would stand in memory. ``repr`` shows no byte of it."""

    form: str
    data: bytes = field(repr=False)
    before: int = 0
    """How far from its whole's first byte ``data`` stands: windows of one whole are one hit."""
    encoding: str = ""
    """For text forms: how to read what stands beside it."""
    columns: bool = False
    """Looked for in every eighth 32-bit word: the digits of Python's ints."""


def text_needles(text: str) -> Iterator[Needle]:
    """Every text form of ``text``, as windows of 24 characters."""
    for encoding in TEXT:
        for start in range(0, len(text) - LETTERS + 1, STRIDE):
            window = text[start : start + LETTERS].encode(encoding)
            before = len(text[:start].encode(encoding))
            yield Needle(form=encoding, data=window, before=before, encoding=encoding)
    raw = text.encode("utf-8")
    for digits in (raw.hex(), raw.hex().upper()):
        yield from _windows("hex", digits.encode("ascii"))
    for shift in range(3):
        # Characters that the bytes before or after have a part in are cut off.
        encoded = base64.b64encode(bytes(shift) + raw)
        whole_groups = (shift + len(raw)) // 3 * 4
        yield from _windows("base64", encoded[-(-shift * 8 // 6) : whole_groups])


def id_needles(ids: Sequence[int]) -> Iterator[Needle]:
    """Every form of a run of token ids, as windows of 8 ids, or more where 8 are too few bytes."""
    for form, pack in _packers(max(ids)):
        for size in range(IDS, len(ids) + 1):
            windows = [ids[i : i + size] for i in range(len(ids) - size + 1)]
            packed = [pack(window) for window in windows]
            if all(len(data) >= SHORTEST for data in packed):
                whole = len(pack(ids))
                yield from (
                    Needle(form=f"ids, {form}", data=data, before=whole - len(pack(ids[i:])))
                    for i, data in enumerate(packed)
                )
                break
    yield from _python_ints([number for number in ids if number > LARGEST_SHARED_INT])


def answer_needles(answers: Iterable[str], *, most: int = 256) -> Iterator[Needle]:
    """Windows of answers, which hold no mark: only such as cannot stand elsewhere by chance.

    ``most`` bounds the windows, evenly taken from all answers.
    """
    texts = [text for text in answers if len(text) >= LETTERS]
    share = max(1, most // max(1, len(texts)))
    for text in texts[:most]:
        windows = [text[i : i + LETTERS] for i in range(0, len(text) - LETTERS + 1, LETTERS)]
        telling = [window for window in windows if _telling(window)]
        for window in telling[:: max(1, len(telling) // share)][:share]:
            for encoding in TEXT:
                yield Needle(form=f"answer, {encoding}", data=window.encode(encoding))


def _telling(window: str) -> bool:
    """Whether a stretch of an answer is unlike prose and code: letters of several alphabets."""
    if "�" in window or len(set(window)) < LETTERS // 2:
        return False
    return sum(character > "\x7f" for character in window) >= LETTERS // 3


def _packers(largest: int) -> Iterator[tuple[str, _Packer]]:
    if largest < 1 << 16:
        yield "2 bytes", lambda ids: struct.pack(f"<{len(ids)}H", *ids)
    yield "4 bytes", lambda ids: struct.pack(f"<{len(ids)}I", *ids)
    yield "4 bytes, big-endian", lambda ids: struct.pack(f">{len(ids)}I", *ids)
    yield "8 bytes", lambda ids: struct.pack(f"<{len(ids)}Q", *ids)
    yield "float32", lambda ids: struct.pack(f"<{len(ids)}f", *ids)
    yield "float64", lambda ids: struct.pack(f"<{len(ids)}d", *ids)
    yield "msgpack", lambda ids: b"".join(map(msgpack.packb, ids))
    yield "varint", lambda ids: b"".join(map(_varint, ids))
    for separator in (", ", ",", " "):
        yield "decimal", lambda ids, s=separator: s.join(map(str, ids)).encode("ascii")  # type: ignore[misc]


def _python_ints(ids: Sequence[int]) -> Iterator[Needle]:
    """Ints made one after the other lie in blocks of 32 bytes, upwards or downwards."""
    for sequence in (ids, ids[::-1]):
        for start in range(len(sequence) - IDS + 1):
            data = struct.pack(f"<{IDS}I", *sequence[start : start + IDS])
            yield Needle(form="ids, python ints", data=data, before=INT_BYTES * start, columns=True)


def _windows(form: str, whole: bytes) -> Iterator[Needle]:
    size = LETTERS
    for start in range(0, len(whole) - size + 1, STRIDE):
        yield Needle(form=form, data=whole[start : start + size], before=start)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
