"""Frames between parent and child: whole, bounded, typed, forgotten after use."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.wire import (
    LENGTHS,
    MAX_BLOB_BYTES,
    MAX_HEADER_BYTES,
    FrameReader,
    Message,
    encode,
)
from lanai.errors import EngineCrashed


def sample() -> Message:
    return Message(
        kind="submit",
        fields={"request": "7", "flag": True, "nested": {"x": [1, 2.5, None]}},
        arrays={
            "ids": np.arange(5, dtype=np.int32),
            "mask": np.array([1, 2**32 - 1], dtype=np.uint32),
            "grid": np.ones((2, 3), dtype=np.float32),
            "none": np.zeros(0, dtype=np.int32),
        },
    )


def same(left: Message, right: Message) -> bool:
    return (
        (left.kind, left.fields) == (right.kind, right.fields)
        and left.arrays.keys() == right.arrays.keys()
        and all(
            np.array_equal(a, right.arrays[n]) and a.dtype == right.arrays[n].dtype
            for n, a in left.arrays.items()
        )
    )


@given(cuts=st.lists(st.integers(0, 600), max_size=12))
def test_messages_survive_any_cutting(cuts: list[int]) -> None:
    """Three frames come out equal however the bytes arrive."""
    data = bytes(encode(sample())) * 3
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    reader = FrameReader()
    pieces = (data[a:b] for a, b in itertools.pairwise(edges))
    out = [message for piece in pieces for message in reader.feed(piece)]
    assert len(out) == 3
    assert all(same(message, sample()) for message in out)


def test_a_frame_is_overwritten_once_it_is_used() -> None:
    """The reader's buffer keeps nothing; the message has its own arrays, which it can overwrite."""
    reader = FrameReader()
    stream = reader.feed(bytes(encode(sample())) + b"\0\0")
    message = next(stream)
    buffer = reader._frame
    assert any(buffer)
    assert list(stream) == []
    assert not any(buffer)
    assert same(message, sample())
    message.wipe()
    assert not any(array.any() for array in message.arrays.values())


def test_half_a_frame_is_overwritten_too() -> None:
    """When its sender goes away before the rest has come."""
    reader = FrameReader()
    assert list(reader.feed(bytes(encode(sample()))[:-1])) == []
    buffer = reader._frame
    assert any(buffer)
    reader.wipe()
    assert not any(buffer)
    assert list(reader.feed(bytes(encode(sample()))))


@given(data=st.binary(max_size=200))
def test_arbitrary_headers_are_refused_not_obeyed(data: bytes) -> None:
    """Any header that is no message raises EngineCrashed and nothing else."""
    frame = LENGTHS.pack(len(data), 0) + data
    try:
        for message in FrameReader().feed(frame):
            assert isinstance(message.kind, str)
    except EngineCrashed:
        pass


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param((MAX_HEADER_BYTES + 1, 0), id="header"),
        pytest.param((10, MAX_BLOB_BYTES + 1), id="blob"),
        pytest.param((0xFFFFFFFF, 0xFFFFFFFF), id="both"),
    ],
)
def test_a_length_beyond_the_limit_is_refused_at_once(lengths: tuple[int, int]) -> None:
    """Eight bytes are enough: nothing is buffered for a frame that is too long."""
    with pytest.raises(EngineCrashed):
        list(FrameReader().feed(LENGTHS.pack(*lengths)))


@pytest.mark.parametrize(
    "described",
    [
        pytest.param([["x", "<f4", [3]]], id="longer than the blob"),
        pytest.param([["x", "<f4", [1]]], id="shorter than the blob"),
        pytest.param([["x", "|O", [2]]], id="object dtype"),
        pytest.param([["x", "<f4", [-2]]], id="negative"),
        pytest.param([["x", "<f4", [1]], ["x", "<f4", [1]]], id="twice the name"),
        pytest.param([["x", "<f4", [2.0]]], id="fractional"),
        pytest.param("x", id="no list"),
    ],
)
def test_arrays_that_do_not_fit_their_blob_are_refused(described: object) -> None:
    """dtype and shape must name exactly the bytes that follow."""
    import msgpack

    header = msgpack.packb({"kind": "k", "arrays": described})
    with pytest.raises(EngineCrashed):
        list(FrameReader().feed(LENGTHS.pack(len(header), 8) + header + bytes(8)))


def test_a_reader_can_be_narrower_than_the_format() -> None:
    """A peer that is allowed a prompt cannot make the reader allocate more."""
    frame = encode(Message(kind="k", arrays={"x": np.zeros(5, dtype=np.int32)}))
    assert len(list(FrameReader(blob_limit=20).feed(frame))) == 1
    with pytest.raises(EngineCrashed):
        list(FrameReader(blob_limit=19).feed(frame))


def test_too_much_is_not_even_encoded() -> None:
    """The sender meets the same limits; other dtypes are refused."""
    with pytest.raises(EngineCrashed):
        encode(Message(kind="k", arrays={"x": np.zeros(MAX_BLOB_BYTES // 4 + 1, dtype=np.int32)}))
    with pytest.raises(EngineCrashed):
        encode(Message(kind="k", arrays={"x": np.zeros(1, dtype=np.float64)}))


def test_repr_shows_no_content() -> None:
    """A message in a log or traceback is its kind only."""
    assert repr(sample()) == "Message(kind='submit')"
