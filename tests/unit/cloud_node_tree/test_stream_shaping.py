"""The shape of the stream: sizes, times and totals of an answer's frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.tree.shaping import TEXT_ROOM, Shaper, shaper_of
from lanai.errors import CloudRefused, UsageError
from protos.lanai.v1alpha.envelope_pb2 import (
    CONSTANT,
    PADDED,
    SHAPE_UNSPECIFIED,
    AnswerFrame,
    Final,
    Timing,
    ToolCall,
)
from trust.envelope import FRAME_BYTES, SMALLEST_TOTAL, TICK_S, constant_total, is_constant_total
from trust.envelope.framing import MessageAssembler

BEGUN = 1000.0
FINAL = AnswerFrame(final=Final(finish_reason="stop", input_tokens=9, output_tokens=9, model="m"))

texts = st.lists(
    st.tuples(st.text(min_size=1, max_size=400), st.floats(0.0, 0.4)), min_size=0, max_size=12
)


class Sent:
    """What left: each frame with its time and mark, and the messages they make."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, bytes, bool]] = []
        self.messages: list[tuple[float, AnswerFrame]] = []
        self._assembler = MessageAssembler()

    def take(self, shaper: Shaper, now: float) -> None:
        for frame, last in shaper.due(now):
            self.frames.append((now, frame, last))
            if (message := self._assembler.push(frame, last=last)) is not None:
                self.messages.append((now, AnswerFrame.FromString(message)))

    @property
    def text(self) -> str:
        return "".join(message.text for _, message in self.messages)

    @property
    def kinds(self) -> list[str | None]:
        return [message.WhichOneof("kind") for _, message in self.messages]


def run(shaper: Shaper, script: list[tuple[float, AnswerFrame]]) -> Sent:
    """Add each frame of ``script`` at its time, the last as the last; wake exactly when due."""
    sent, now = Sent(), BEGUN
    for number, (at, frame) in enumerate(script):
        while (wait := shaper.next_due(now)) is not None and now + wait < at:
            now += wait
            sent.take(shaper, now)
        now = at
        shaper.add(frame, last=number == len(script) - 1)
    while (wait := shaper.next_due(now)) is not None:
        now += wait
        sent.take(shaper, now)
    return sent


def script_of(
    pieces: list[tuple[str, float]], end: AnswerFrame = FINAL
) -> list[tuple[float, AnswerFrame]]:
    """Text pieces, each so many seconds after the one before; then ``end``."""
    at, script = BEGUN, list[tuple[float, AnswerFrame]]()
    for text, pause in pieces:
        at += pause
        script.append((at, AnswerFrame(text=text)))
    return [*script, (at, end)]


def constant() -> Shaper:
    return shaper_of(CONSTANT, now=BEGUN)


@given(texts, st.sampled_from([SHAPE_UNSPECIFIED, PADDED, CONSTANT]))
def test_every_frame_has_one_size_and_the_text_arrives_whole(
    pieces: list[tuple[str, float]], shape: int
) -> None:
    """In any shape frames are 256 bytes, text keeps its order, and one frame, the last, ends it."""
    sent = run(shaper_of(shape, now=BEGUN), script_of(pieces))
    assert {len(frame) for _, frame, _ in sent.frames} == {FRAME_BYTES}
    assert sent.text == "".join(text for text, _ in pieces)
    assert [last for _, _, last in sent.frames].index(True) == len(sent.frames) - 1
    assert sent.kinds[-1] == "final"


@given(texts)
def test_a_constant_stream_leaves_on_its_clock(pieces: list[tuple[str, float]]) -> None:
    """Frame i leaves i ticks after the request came, whatever was said and when."""
    sent = run(constant(), script_of(pieces))
    ticks = [BEGUN + number * TICK_S for number in range(1, len(sent.frames) + 1)]
    assert [at for at, _, _ in sent.frames] == pytest.approx(ticks, abs=1e-9)


@given(texts, st.booleans())
def test_a_constant_total_is_a_bucket(pieces: list[tuple[str, float]], fails: bool) -> None:
    """The number of frames is a bucket, less than twice what was needed, or the smallest one."""
    end = AnswerFrame(failure="internal") if fails else FINAL
    script = script_of(pieces, end)
    sent = run(constant(), script)
    total = len(sent.frames)
    assert is_constant_total(total)
    said = [at for (at, message) in sent.messages if message.WhichOneof("kind") != "filler"][:-1]
    until = max([script[-1][0], *said])
    needed = (until - BEGUN) / TICK_S + 2
    assert total == SMALLEST_TOTAL or total < 2 * needed


@given(texts)
def test_text_waits_a_tick_and_what_is_ahead_of_it(pieces: list[tuple[str, float]]) -> None:
    """A piece is out by the next tick, plus one tick for each frame of text that was waiting."""
    script = script_of(pieces)
    sent = run(constant(), script)
    # A cut may leave up to three bytes of a frame unused, for a character's edge.
    room = TEXT_ROOM - 3
    added, ended = 0, list[tuple[int, float]]()
    for at, message in sent.messages:
        added += len(message.text.encode())
        ended.append((added, at))
    size, backlog_until = 0, BEGUN
    for at, frame in script[:-1]:
        piece = len(frame.text.encode())
        size += piece
        backlog_until = max(at, backlog_until) + (piece // room + 1) * TICK_S
        assert next(when for done, when in ended if done >= size) <= backlog_until + TICK_S


def test_text_that_comes_faster_is_merged() -> None:
    """What came since the last tick leaves in one frame."""
    sent = run(constant(), script_of([("a", 0.0), ("b", 0.01), ("c", 0.01), ("d", 0.04)]))
    assert [message.text for _, message in sent.messages[:2]] == ["abc", "d"]


def test_text_is_cut_between_characters() -> None:
    """A frame takes whole characters only, and as many as it holds."""
    text = "€" * 200
    sent = run(constant(), script_of([(text, 0.0)]))
    pieces = [message.text for _, message in sent.messages if message.HasField("text")]
    assert pieces == ["€" * 83, "€" * 83, "€" * 34]


def test_failure_short_and_long_answer_of_one_bucket_look_alike() -> None:
    """Sizes, times and number of frames are the same; so is the place of the mark."""
    call = ToolCall(id="1", name="t", arguments="x" * 900)
    endings = (
        [(BEGUN, AnswerFrame(failure="internal"))],
        script_of([("yes", 0.3)]),
        script_of([("word " * 9, 0.1)] * 25),
        [(BEGUN + 1.0, AnswerFrame(tool_call=call)), (BEGUN + 1.0, FINAL)],
        [(BEGUN + 2.0, AnswerFrame(text="a")), (BEGUN + 2.9, AnswerFrame(failure="expired"))],
    )
    seen = [
        [(at, len(frame), last) for at, frame, last in run(constant(), script).frames]
        for script in endings
    ]
    assert all(other == seen[0] for other in seen)


def test_what_ends_the_answer_is_held_to_the_end() -> None:
    """A failure is said in the last frame: who learns of it has nothing left to cancel."""
    sent = run(constant(), [(BEGUN, AnswerFrame(failure="internal"))])
    assert sent.kinds == ["filler"] * (SMALLEST_TOTAL - 1) + ["failure"]


def test_a_long_message_takes_a_tick_a_frame() -> None:
    """A tool call of four frames leaves on four ticks, in order with the text around it."""
    call = ToolCall(id="1", name="t", arguments="x" * 900)
    script = [
        (BEGUN, AnswerFrame(text="before")),
        (BEGUN, AnswerFrame(tool_call=call)),
        (BEGUN, FINAL),
    ]
    sent = run(constant(), script)
    assert [kind for kind in sent.kinds if kind != "filler"] == ["text", "tool_call", "final"]
    assert sent.messages[1] == (pytest.approx(BEGUN + 5 * TICK_S), AnswerFrame(tool_call=call))


def test_a_long_final_record_ends_the_bucket() -> None:
    """A record longer than a frame takes the bucket's last frames; the total stays a bucket."""
    timings = [Timing(name="lanai.node.prefill", start_us=1, duration_us=1)] * 20
    final = AnswerFrame(final=Final(model="m", timings=timings))
    sent = run(constant(), [(BEGUN, final)])
    assert (len(sent.frames), sent.messages[-1][1]) == (SMALLEST_TOTAL, final)


def test_a_late_sender_keeps_the_clock() -> None:
    """Frames whose ticks were missed leave together; the next one is on the clock again."""
    shaper = constant()
    assert len(shaper.due(BEGUN + 10.5 * TICK_S)) == 10
    assert shaper.next_due(BEGUN + 10.5 * TICK_S) == pytest.approx(TICK_S / 2)


def test_the_prefill_does_not_show() -> None:
    """Before there is text, fillers leave on the clock; nothing leaves before the first tick."""
    shaper = constant()
    assert shaper.due(BEGUN + 0.9 * TICK_S) == []
    sent = Sent()
    for tick in range(1, 5):
        sent.take(shaper, BEGUN + tick * TICK_S)
    assert sent.kinds == ["filler"] * 4


def test_padded_has_no_clock() -> None:
    """A message is due when it is added, in as many frames as it takes, and then nothing is."""
    shaper = shaper_of(PADDED, now=BEGUN)
    assert shaper.next_due(BEGUN) is None
    shaper.add(AnswerFrame(text="x" * 300), last=False)
    assert shaper.next_due(BEGUN) == 0.0
    assert [last for _, last in shaper.due(BEGUN)] == [False, False]
    assert shaper.next_due(BEGUN) is None


@pytest.mark.parametrize("shape", [PADDED, CONSTANT])
def test_nothing_is_added_behind_the_last(shape: int) -> None:
    """An answer ends once."""
    shaper = shaper_of(shape, now=BEGUN)
    shaper.add(FINAL, last=True)
    with pytest.raises(UsageError):
        shaper.add(FINAL, last=True)


def test_an_unknown_shape_is_refused() -> None:
    """What a newer device may ask for is not answered with less."""
    with pytest.raises(CloudRefused):
        shaper_of(3, now=BEGUN)


def test_representations_hold_no_text() -> None:
    """A shaper shows counts only."""
    for shape in (PADDED, CONSTANT):
        shaper = shaper_of(shape, now=BEGUN)
        shaper.add(AnswerFrame(text="secret"), last=False)
        assert "secret" not in repr(shaper)


@given(st.integers(0, 2**20))
def test_totals_grow_by_doubling(needed: int) -> None:
    """A total holds what is needed, is a bucket, and less than twice as much above the smallest."""
    total = constant_total(needed)
    assert total >= needed
    assert is_constant_total(total)
    assert total == SMALLEST_TOTAL or total < 2 * needed
