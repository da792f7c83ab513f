"""Needles of every form are found wherever they lie, and nothing else is."""

import array
import base64
import random
import struct

import msgpack
import numpy as np
import pytest

from cloud_node.audit.findings import Findings
from cloud_node.audit.needles import Needle, answer_needles
from cloud_node.audit.search import ALIGNMENT, Searcher
from lanai.errors import UsageError


def noise(size: int, seed: int = 3) -> bytes:
    return random.Random(seed).randbytes(size)


def varints(ids) -> bytes:
    out = bytearray()
    for number in ids:
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)


def found_in(searcher: Searcher, data: bytes) -> Findings:
    findings = Findings()
    findings.take(searcher, data, at=0, where="here")
    return findings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("offset", range(9))
def test_text_is_found_at_every_offset(marks, searcher, encoding: str, offset: int) -> None:
    """A mark in any encoding is one hit, whatever address it lies at."""
    data = noise(640 + offset) + marks.make("x").encode(encoding) + noise(100)
    assert found_in(searcher, data).hits == 1


@pytest.mark.parametrize("before", [b"", b"a", b"ab"])
def test_base64_is_found_at_every_alignment(marks, searcher, before: bytes) -> None:
    """However many bytes were encoded before it; in URL-safe base64 too, and in hex."""
    raw = before + marks.make("x").encode()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        assert found_in(searcher, b"?" + encoded).forms == {"base64"}
    assert found_in(searcher, raw.hex().encode()).forms == {"hex"}
    assert found_in(searcher, raw.hex().upper().encode()).forms == {"hex"}


FORMS = {
    "ids, 2 bytes": lambda ids: array.array("H", ids).tobytes(),
    "ids, 4 bytes": lambda ids: np.array(ids, dtype=np.int32).tobytes(),
    "ids, 4 bytes, big-endian": lambda ids: np.array(ids, dtype=">i4").tobytes(),
    "ids, 8 bytes": lambda ids: np.array(ids, dtype=np.int64).tobytes(),
    "ids, float32": lambda ids: np.array(ids, dtype=np.float32).tobytes(),
    "ids, float64": lambda ids: np.array(ids, dtype=np.float64).tobytes(),
    "ids, msgpack": lambda ids: msgpack.packb(list(ids)),
    "ids, varint": varints,
    "ids, decimal": lambda ids: repr(list(ids)).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_found_in_every_form(marks, searcher, form: str) -> None:
    """What numpy, torch, Rust, msgpack, protobuf and logs make of a prompt's ids."""
    ids = [7, 8, 9, *marks.ids, 10, 11]
    data = noise(333) + FORMS[form](ids) + noise(333)
    assert found_in(searcher, data).forms == {form}


def test_ids_as_python_ints_are_found(marks, searcher) -> None:
    """Ints made in turn lie 32 bytes apart; freed ones keep their digits there."""
    block = b"".join(struct.pack("<QQqI", 0xDEAD, 0x7F00, 1, i) + bytes(4) for i in marks.ids)
    for start in (16, 48):
        assert found_in(searcher, bytes(start) + block + bytes(64)).forms == {"ids, python ints"}


def test_a_part_of_a_mark_is_found(marks, searcher) -> None:
    """Freed memory loses its first bytes to the allocator: what is left is still a hit."""
    mark = marks.make("x").encode()
    assert found_in(searcher, bytes(16) + mark[16:]).hits == 1
    assert found_in(searcher, mark[:40] + noise(50)).hits == 1


def test_eight_ids_suffice(marks, searcher) -> None:
    """A window of eight ids of a mark is found; seven are too few to tell."""
    window = FORMS["ids, 4 bytes"](marks.ids[3:11])
    assert found_in(searcher, noise(64) + window + noise(64)).hits == 1
    assert found_in(searcher, noise(64) + window[:28] + noise(64)).hits == 0


def test_each_hit_names_its_mark(marks, searcher) -> None:
    """Two marks side by side are two hits, each with its label."""
    text = f"{marks.make('one')} and {marks.make('two')}"
    for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
        findings = found_in(searcher, text.encode(encoding))
        assert (findings.hits, findings.labels) == (2, {"one", "two"})


def test_pieces_that_overlap_miss_nothing_and_count_once(marks, searcher) -> None:
    """A mark at every position around a seam between two pieces is exactly one hit."""
    mark, size = marks.make("x").encode("utf-32-le"), 4096
    for start in range(size - searcher.overlap - 8, size + 8, 7):
        data = bytes(start) + mark + bytes(size)
        findings = Findings()
        second = size - searcher.overlap
        findings.take(searcher, data[:size], at=0, where="here")
        findings.take(searcher, data[second:], at=second, where="here")
        assert (findings.hits, findings.labels) == (1, {"x"})
    assert searcher.overlap % ALIGNMENT == 0


def test_noise_zeros_and_other_marks_are_no_hits(searcher) -> None:
    """Nothing is found where nothing is."""
    assert found_in(searcher, noise(1 << 20)).hits == 0
    assert found_in(searcher, bytes(1 << 20)).hits == 0
    assert found_in(searcher, np.arange(1 << 17, dtype=np.int64).tobytes()).hits == 0
    assert found_in(searcher, b"").hits == found_in(searcher, b"short").hits == 0


def test_what_was_found_shows_no_byte_of_it(marks, searcher) -> None:
    """Findings are counts and places: they may be printed."""
    findings = found_in(searcher, marks.make("x").encode())
    assert marks.common not in repr(findings.places())
    assert marks.common not in repr(searcher.needles)


def test_a_needle_too_short_to_index_is_refused() -> None:
    """Fewer than 23 bytes do not cover two words."""
    with pytest.raises(UsageError):
        Searcher([Needle(form="x", data=bytes(22))])


def test_answers_are_looked_for_when_they_are_unmistakable() -> None:
    """Text in several alphabets is; prose and code, which stand in any memory, are not."""
    telling = "слово 言葉 λέξη حرف שפה मात्रा and so on"
    needles = list(answer_needles([telling, "the same as the one in every other file of code"]))
    assert {needle.form for needle in needles} >= {"answer, utf-8", "answer, utf-32-le"}
    searcher = Searcher(needles)
    assert found_in(searcher, telling.encode("utf-16-le")).hits > 0
    assert found_in(searcher, b"the same as the one in every other file of code").hits == 0
