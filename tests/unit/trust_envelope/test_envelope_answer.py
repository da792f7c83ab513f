"""The sealed answer: frames of one size, in order, to their end, from a known node."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import EnvelopeRejected, Rejection
from trust.envelope import (
    FRAME_BYTES,
    MAX_MESSAGE_BYTES,
    AnswerOpener,
    AnswerSealer,
    SealedChunk,
    frames,
    open_request,
)


@pytest.fixture
def exchange(seal, nodes, now):
    """``exchange(i)``: the opener on the device and the sealer of node ``i``."""

    def started(index: int = 0) -> tuple[AnswerOpener, AnswerSealer]:
        sealed, node = seal(), nodes[index]
        request = open_request(
            sealed.header, node.key, tls_spki_sha256=node.tls_spki_sha256, now=now
        )
        answer = request.answer()
        sealed.opener.start(answer.server_nonce)
        return sealed.opener, answer

    return started


def refusal(call) -> Rejection:
    with pytest.raises(EnvelopeRejected) as caught:
        call()
    return caught.value.reason


def test_messages_come_back_in_order_and_the_end_is_seen(exchange) -> None:
    """Each message comes back whole; ``finished`` is true after the marked last frame only."""
    opener, answer = exchange()
    for text in (b"one", b"", b"two" * 500):
        *parts, last = [opener.open(chunk) for chunk in answer.seal(text)]
        assert (set(parts) <= {None}, last) == (True, text)
        assert not opener.finished
    (end,) = answer.seal(b"end", last=True)
    assert opener.open(end) == b"end"
    assert opener.finished


def test_a_message_may_be_sealed_frame_by_frame(exchange) -> None:
    """Frames sealed one at a time open as the message that was cut; another size is refused."""
    opener, answer = exchange()
    cut = list(frames(b"two" * 500))
    opened = [opener.open(answer.seal_frame(frame, last=ends)) for frame, ends in cut]
    assert opened == [None] * (len(cut) - 1) + [b"two" * 500]
    assert opener.finished
    _, answer = exchange()
    assert refusal(lambda: answer.seal_frame(b"short", last=False)) is Rejection.MALFORMED


def test_the_opener_names_the_node_that_answered(exchange, nodes) -> None:
    """Each node's answer opens under its own secret, and says whose it is."""
    for index, node in enumerate(nodes):
        opener, answer = exchange(index)
        assert opener.node_id is None
        opener.open(answer.seal(b"hello")[0])
        assert opener.node_id == node.node_id


def test_a_node_cannot_answer_in_anothers_name(seal, nodes, now) -> None:
    """Node 0 holds the data key too, but an answer it labels as node 1's does not open."""
    sealed = seal()
    request = open_request(
        sealed.header, nodes[0].key, tls_spki_sha256=nodes[0].tls_spki_sha256, now=now
    )
    forged = AnswerSealer(
        request._secrets, node_id=nodes[1].node_id, header_digest=sealed.header.digest()
    )
    sealed.opener.start(forged.server_nonce)
    assert refusal(lambda: sealed.opener.open(forged.seal(b"x")[0])) is Rejection.DECRYPTION


@settings(max_examples=60, deadline=None)
@given(message=st.binary(max_size=2000), last=st.booleans())
def test_every_frame_has_one_size(exchange_once, message: bytes, last: bool) -> None:
    """Frames of any message are equally long; only their number depends on its length."""
    _, answer = exchange_once()
    chunks = answer.seal(message, last)
    assert {len(chunk.data) for chunk in chunks} == {FRAME_BYTES + 16}
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [last]
    assert len(chunks) == max(1, -(-len(message) // (FRAME_BYTES - 2)))


@pytest.fixture(scope="module")
def exchange_once(seal, nodes, now):
    """As ``exchange``, for property tests (made once, called for each example)."""

    def started() -> tuple[AnswerOpener, AnswerSealer]:
        sealed, node = seal(), nodes[0]
        answer = open_request(
            sealed.header, node.key, tls_spki_sha256=node.tls_spki_sha256, now=now
        ).answer()
        sealed.opener.start(answer.server_nonce)
        return sealed.opener, answer

    return started


@settings(max_examples=40, deadline=None)
@given(messages=st.lists(st.binary(max_size=1000), min_size=1, max_size=6))
def test_any_messages_come_back(exchange_once, messages) -> None:
    """Any list of messages is the list that is opened."""
    opener, answer = exchange_once()
    came = []
    for index, message in enumerate(messages):
        opened = map(opener.open, answer.seal(message, last=index == len(messages) - 1))
        came += [whole for whole in opened if whole is not None]
    assert came == messages
    assert opener.finished


@settings(max_examples=120, deadline=None)
@given(bit=st.integers(0, (FRAME_BYTES + 16) * 8 - 1), second=st.booleans())
def test_a_changed_bit_in_a_frame_is_refused_for_good(exchange_once, bit, second) -> None:
    """One changed bit ends the answer; the true frame afterwards does not bring it back."""
    opener, answer = exchange_once()
    if second:
        opener.open(answer.seal(b"first")[0])
    (chunk,) = answer.seal(b"hello", last=True)
    data = bytearray(chunk.data)
    data[bit // 8] ^= 1 << bit % 8
    assert refusal(lambda: opener.open(replace(chunk, data=bytes(data)))) is Rejection.DECRYPTION
    assert refusal(lambda: opener.open(chunk)) is Rejection.AFTER_END
    assert not opener.finished


@settings(max_examples=60, deadline=None)
@given(bit=st.integers(0, 255))
def test_a_changed_server_nonce_is_refused(seal, nodes, now, bit) -> None:
    """The nonce is bound: one changed bit, and nothing opens."""
    sealed, node = seal(), nodes[0]
    answer = open_request(
        sealed.header, node.key, tls_spki_sha256=node.tls_spki_sha256, now=now
    ).answer()
    nonce = bytearray(answer.server_nonce)
    nonce[bit // 8] ^= 1 << bit % 8
    sealed.opener.start(bytes(nonce))
    assert refusal(lambda: sealed.opener.open(answer.seal(b"x")[0])) is Rejection.DECRYPTION


@pytest.mark.parametrize("last", [False, True])
def test_a_changed_last_mark_is_refused(exchange, last: bool) -> None:
    """Neither an early nor a hidden end opens."""
    opener, answer = exchange()
    (chunk,) = answer.seal(b"x", last=last)
    assert refusal(lambda: opener.open(replace(chunk, last=not last))) is Rejection.DECRYPTION
    assert not opener.finished


def test_order_repeats_and_gaps_are_refused(exchange) -> None:
    """Frames open once each, in the order they were sealed."""
    for pick in ((1,), (0, 0), (0, 2)):
        opener, answer = exchange()
        frames = [answer.seal(bytes([n]))[0] for n in range(3)]
        *good, bad = pick
        for index in good:
            opener.open(frames[index])
        assert refusal(lambda: opener.open(frames[bad])) is Rejection.DECRYPTION  # noqa: B023


def test_nothing_follows_the_end(exchange) -> None:
    """After the last frame, the node seals no more and the device opens no more."""
    opener, answer = exchange()
    (end,) = answer.seal(b"end", last=True)
    opener.open(end)
    assert refusal(lambda: answer.seal(b"more")) is Rejection.AFTER_END
    assert refusal(lambda: opener.open(end)) is Rejection.AFTER_END


def test_an_answer_that_ends_inside_a_message_is_refused(exchange) -> None:
    """A node that marks a middle frame as the last is caught."""
    opener, answer = exchange()
    frame = (0x8000 | (FRAME_BYTES - 2)).to_bytes(2, "big") + bytes(FRAME_BYTES - 2)
    cut = answer._sealer.seal(frame, last=True)
    assert refusal(lambda: opener.open(cut)) is Rejection.TRUNCATED
    assert not opener.finished


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\xff" + bytes(254),  # more than there is room for
        b"\x80\x01" + bytes(254),  # goes on, but is not full
        b"\x00\x01ab" + bytes(252),  # something behind the message
    ],
)
def test_frames_that_are_not_framed_as_agreed_are_refused(exchange, frame: bytes) -> None:
    """There is one way to frame a message."""
    opener, answer = exchange()
    chunk = answer._sealer.seal(frame, last=False)
    assert refusal(lambda: opener.open(chunk)) is Rejection.MALFORMED


def test_limits(exchange) -> None:
    """Messages beyond the limit are neither sealed nor put together; odd frames are not opened."""
    opener, answer = exchange()
    assert refusal(lambda: answer.seal(bytes(MAX_MESSAGE_BYTES + 1))) is Rejection.TOO_LARGE
    frame = (0x8000 | (FRAME_BYTES - 2)).to_bytes(2, "big") + bytes(FRAME_BYTES - 2)
    for _ in range(MAX_MESSAGE_BYTES // (FRAME_BYTES - 2)):
        assert opener.open(answer._sealer.seal(frame, last=False)) is None
    over = answer._sealer.seal(frame, last=False)
    assert refusal(lambda: opener.open(over)) is Rejection.TOO_LARGE
    opener, _ = exchange()
    assert refusal(lambda: opener.open(SealedChunk(data=b"odd"))) is Rejection.MALFORMED


def test_the_nonce_comes_first_once_and_whole(seal, nodes, now) -> None:
    """No frame before the nonce, no second nonce, no nonce of another size."""
    for nonces in ((b"short",), (bytes(32), bytes(32))):
        opener = seal().opener
        *good, bad = nonces
        for nonce in good:
            opener.start(nonce)
        assert refusal(lambda: opener.start(bad)) is Rejection.MALFORMED  # noqa: B023
    opener = seal().opener
    early = SealedChunk(data=bytes(FRAME_BYTES + 16))
    assert refusal(lambda: opener.open(early)) is Rejection.MALFORMED
