"""Chunked OHTTP as Lanai uses it: order, end, keys and their files."""

import pytest

from lanai.errors import EnvelopeRejected, Rejection, UsageError
from trust.hpke import X25519
from trust.ohttp import (
    EXCHANGE,
    FETCH,
    MAX_PIECE_BYTES,
    GatewayKey,
    GatewayKeys,
    KeyConfiguration,
    RequestSealer,
    Symmetric,
    configuration_of,
    join_chunk,
    key_id,
    split_chunk,
    split_message,
)


@pytest.fixture(scope="module")
def key() -> GatewayKey:
    return GatewayKey.generate()


def request(key: GatewayKey, *data: bytes, media: str = EXCHANGE) -> list[bytes]:
    sealer = RequestSealer(key.configuration, media=media)
    return [sealer.seal(item, final=item is data[-1]) for item in data]


def reason(call, *arguments, **named) -> Rejection:
    with pytest.raises(EnvelopeRejected) as caught:
        call(*arguments, **named)
    return caught.value.reason


def test_a_message_comes_through_both_ways(key: GatewayKey) -> None:
    """Chunks open in order, and the answer's too; both ends know that the end was reached."""
    sealer = RequestSealer(key.configuration, media=EXCHANGE)
    pieces = [sealer.seal(b"one"), sealer.seal(b"two", final=True)]
    opener, first = GatewayKeys([key]).open(pieces[0], media=EXCHANGE)
    assert (first, opener.open(pieces[1]), opener.ended) == (b"one", b"two", True)
    answer, reader = opener.response(), sealer.response()
    sealed = [answer.seal(b"three"), answer.seal(b"", final=True)]
    assert [reader.open(piece) for piece in sealed] == [b"three", b""]
    assert reader.ended


def test_reordered_repeated_and_dropped_chunks_do_not_open(key: GatewayKey) -> None:
    """Any chunk out of its place is refused, and everything after it."""
    pieces = request(key, b"a", b"b", b"c")
    for wrong in ([0, 2], [0, 1, 1]):
        opener, _ = GatewayKeys([key]).open(pieces[0], media=EXCHANGE)
        *good, bad = wrong[1:]
        for place in good:
            opener.open(pieces[place])
        assert reason(opener.open, pieces[bad]) is Rejection.DECRYPTION
        assert reason(opener.open, pieces[1]) is Rejection.AFTER_END


def test_nothing_follows_the_final_chunk(key: GatewayKey) -> None:
    """Neither seals nor opens a chunk after the end; an empty chunk may be the final one only."""
    sealer = RequestSealer(key.configuration, media=EXCHANGE)
    with pytest.raises(UsageError):
        sealer.seal(b"")
    sealer = RequestSealer(key.configuration, media=EXCHANGE)
    first = sealer.seal(b"a", final=True)
    assert reason(sealer.seal, b"b") is Rejection.AFTER_END
    opener, _ = GatewayKeys([key]).open(first, media=EXCHANGE)
    assert reason(opener.open, first) is Rejection.AFTER_END


def test_a_changed_bit_anywhere_in_the_first_piece_is_refused(key: GatewayKey) -> None:
    """Header, encapsulated key, length and chunk: one bit changed, and it does not open."""
    [piece] = request(key, b"data")
    for place in [*range(8), 600, 1100, *range(1120, len(piece))]:
        changed = bytearray(piece)
        changed[place] ^= 1
        refusal = reason(GatewayKeys([key]).open, bytes(changed), media=EXCHANGE)
        assert refusal in {
            Rejection.DECRYPTION,
            Rejection.UNKNOWN_KEY,
            Rejection.VERSION,
            Rejection.MALFORMED,
        }


def test_a_message_for_one_method_does_not_open_as_another(key: GatewayKey) -> None:
    """The media type is part of the keys."""
    [piece] = request(key, b"data")
    assert reason(GatewayKeys([key]).open, piece, media=FETCH) is Rejection.DECRYPTION


def test_an_answer_belongs_to_its_request(key: GatewayKey) -> None:
    """An answer to one request does not open as the answer to another."""
    sealers = [RequestSealer(key.configuration, media=EXCHANGE) for _ in range(2)]
    pieces = [sealer.seal(b"q", final=True) for sealer in sealers]
    openers = [GatewayKeys([key]).open(piece, media=EXCHANGE)[0] for piece in pieces]
    answer = openers[0].response().seal(b"a", final=True)
    assert reason(sealers[1].response().open, answer) is Rejection.DECRYPTION
    assert sealers[0].response().open(answer) == b"a"


def test_each_answer_has_keys_of_its_own(key: GatewayKey) -> None:
    """Two answers to one request (a replay) share no key: the nonce differs."""
    [piece] = request(key, b"q")
    opener, _ = GatewayKeys([key]).open(piece, media=EXCHANGE)
    first, second = (opener.response().seal(b"same", final=True) for _ in range(2))
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


def test_a_key_that_is_not_held_is_said_so() -> None:
    """An id of no key here is `unknown_key`; of two keys with one id both are tried."""
    keys = {key_id(made.public_key): made for made in (GatewayKey.generate() for _ in range(3))}
    first, *others = keys.values()
    [piece] = request(first, b"data")
    assert reason(GatewayKeys(others).open, piece, media=EXCHANGE) is Rejection.UNKNOWN_KEY
    assert GatewayKeys([*others, first]).open(piece, media=EXCHANGE)[1] == b"data"


def test_two_keys_of_one_id_are_both_tried() -> None:
    """Ids are one byte, so that they collide: the right key opens, wherever it stands."""
    first = GatewayKey.generate()
    twin = next(
        made
        for made in iter(GatewayKey.generate, None)
        if key_id(made.public_key) == key_id(first.public_key)
    )
    [piece] = request(first, b"data")
    assert GatewayKeys([twin, first]).open(piece, media=EXCHANGE)[1] == b"data"
    assert reason(GatewayKeys([twin]).open, piece, media=EXCHANGE) is Rejection.DECRYPTION


def test_a_key_file_gives_the_same_key_and_nothing_else(key: GatewayKey) -> None:
    """What was written is read; a damaged file is refused; the seed is in no repr."""
    data = key.to_pem()
    assert GatewayKey.from_pem(data).public_key == key.public_key
    assert data.splitlines()[1].decode() not in repr(key)
    for damaged in (b"", data[:-1], data + b"\n", data.replace(b"SEED", b"KEYS"), b"\xff" * 300):
        assert reason(GatewayKey.from_pem, damaged) is Rejection.MALFORMED


def test_a_configuration_says_what_the_log_holds(key: GatewayKey) -> None:
    """From the logged public key alone: id, X-Wing, HKDF-SHA-256, AES-256-GCM."""
    made = configuration_of(key.public_key)
    assert made == key.configuration
    assert (made.kem_id, made.symmetric) == (0x647A, ((1, 2),))
    assert KeyConfiguration.parse(made.to_bytes()) == made
    assert len(made.to_bytes()) == 1 + 2 + 1216 + 2 + 4
    assert reason(configuration_of, key.public_key[:-1]) is Rejection.MALFORMED


def test_unknown_algorithms_are_a_version(key: GatewayKey) -> None:
    """A configuration or request of a suite not known here asks for another release."""
    other = KeyConfiguration(
        key_id=1, kem_id=X25519.kem_id, public_key=bytes(32), symmetric=(Symmetric(1, 9),)
    )
    with pytest.raises(EnvelopeRejected) as caught:
        _ = other.suite
    assert caught.value.reason is Rejection.VERSION
    assert reason(KeyConfiguration.parse, b"\x01\x12\x34" + bytes(99)) is Rejection.VERSION
    [piece] = request(key, b"data")
    assert reason(GatewayKeys([key]).open, b"\x00\x00" + piece, media=FETCH) is Rejection.VERSION


def test_pieces_are_bounded_and_exact() -> None:
    """A length that is cut, too large, or of more or fewer bytes than follow, is refused."""
    assert split_chunk(join_chunk(b"x" * 70, final=False)) == (b"x" * 70, False)
    assert split_chunk(join_chunk(b"", final=True)) == (b"", True)
    assert reason(split_chunk, b"") is Rejection.MALFORMED
    assert reason(split_chunk, b"\xc0\x00") is Rejection.MALFORMED
    assert reason(split_chunk, b"\x05xxxx") is Rejection.MALFORMED
    assert reason(split_chunk, b"\x03xxxx") is Rejection.MALFORMED
    assert reason(split_chunk, b"\xbf\xff\xff\xff" + b"x") is Rejection.TOO_LARGE
    assert reason(split_chunk, bytes(MAX_PIECE_BYTES + 2)) is Rejection.TOO_LARGE


def test_a_whole_message_is_split_where_it_was_joined() -> None:
    """Pieces put together come apart again, in every encoding of a length."""
    first, second, last = b"PP\x02ab", b"\x40\x02cd", b"\x00rest"
    joined = first + second + last
    assert list(split_message(joined, prefix_bytes=2)) == [first, second, last]
    assert reason(lambda: list(split_message(first[:-1], prefix_bytes=2))) is Rejection.MALFORMED
    assert list(split_message(b"", prefix_bytes=2)) == []
