"""Streamed text: whole characters only, stop strings never seen, nothing lost."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from inference.text import TextStream
from inference.text.vocabulary import Vocabulary


def byte_vocabulary() -> Vocabulary:
    """256 tokens, each a byte, and one control token."""
    pieces = {f"<0x{byte:02X}>": byte for byte in range(256)}
    return Vocabulary(
        tokenizer=Tokenizer(models.BPE(pieces | {"<end>": 256}, [], byte_fallback=True)),
        size=257,
        control={"<end>": 256},
        added=frozenset(),
        byte_level=False,
    )


BYTES = byte_vocabulary()


def stream_of(stop: Sequence[str] = (), *, strip_start: bool = False) -> TextStream:
    return TextStream(BYTES, stop, strip_start=strip_start)


@given(st.binary(max_size=60))
def test_joined_pieces_equal_decoding_at_once(data: bytes) -> None:
    """Any bytes, sound UTF-8 or not: what was shown piece by piece is the whole decode."""
    stream = stream_of()
    shown = [stream.push(byte) for byte in data]
    assert "".join(shown) + stream.finish() == data.decode("utf-8", "replace")


@given(st.text(max_size=40))
def test_sound_text_never_shows_half_a_character(text: str) -> None:
    """No piece of valid text holds a replacement character that the text itself does not."""
    stream = stream_of()
    pieces = [stream.push(byte) for byte in text.encode()] + [stream.finish()]
    assert "".join(pieces) == text
    assert sum(piece.count("�") for piece in pieces) == text.count("�")


@given(
    st.text(alphabet="ab\nQ", max_size=30),
    st.lists(st.text(alphabet="ab\nQ", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_text_ends_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    """Shown text is the answer up to whichever stop string comes first, and never a part of one."""
    stream = stream_of(stops)
    shown = ""
    for byte in text.encode():
        shown += stream.push(byte)
        assert not any(stop in shown for stop in stops)
        if stream.stopped:
            break
    shown += stream.finish()
    ends = [text.find(stop) for stop in stops if stop in text]
    assert stream.stopped == bool(ends)
    # A stop string met later may begin earlier; the stream ends at the first one that is complete.
    assert text.startswith(shown)
    if not ends:
        assert shown == text
    else:
        first_complete = min(text.find(stop) + len(stop) for stop in stops if stop in text)
        held = text[:first_complete]
        assert shown == held[: min(held.find(stop) for stop in stops if stop in held)]


def test_a_possible_stop_is_held_back_and_released() -> None:
    """The beginning of a stop string waits for the next token, then shows if it was none."""
    stream = stream_of(["\n\n"])
    assert stream.push(ord("a")) == "a"
    assert stream.push(ord("\n")) == ""
    assert stream.push(ord("b")) == "\nb"
    assert stream.push(ord("\n")) == ""
    assert stream.finish() == "\n"


def test_nothing_comes_after_a_stop() -> None:
    """Tokens that were already on their way when the stop was met are dropped."""
    stream = stream_of(["."])
    assert stream.push(ord(".")) == ""
    assert stream.stopped
    assert stream.push(ord("x")) + stream.finish() == ""


@pytest.mark.parametrize("token_id", [256, 999, 1 << 40])
def test_control_and_unknown_tokens_show_nothing(token_id: int) -> None:
    """Ids without text of their own add none."""
    assert stream_of().push(token_id) == ""


def test_leading_space_is_left_out_when_asked() -> None:
    """A form whose answers begin after a space shows them without it, and inner ones whole."""
    stream = stream_of(strip_start=True)
    assert [stream.push(byte) for byte in b"  a b"] == ["", "", "a", " ", "b"]
