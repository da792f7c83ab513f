"""The sealed request: what opens, and that nothing else does."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import EnvelopeRejected, Rejection
from protos.lanai.v1alpha import envelope_pb2 as wire
from trust import envelope
from trust.envelope import (
    CHUNK_BYTES,
    MAX_BODY_BYTES,
    MAX_CHUNKS,
    MAX_LIFETIME_S,
    EnvelopeHeader,
    NodeKey,
    OpenRequest,
    SealedChunk,
    WrappedKey,
    open_request,
    seal_request,
)

HASHES = ("token_hash", "checkpoint_hash", "policy_digest", "key_commitment")


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with one bit changed; ``bit`` counts from the first byte's lowest bit."""
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def opened(sealed, node, now, header=None) -> OpenRequest:
    return open_request(
        header or sealed.header, node.key, tls_spki_sha256=node.tls_spki_sha256, now=now
    )


def refusal(call) -> Rejection:
    with pytest.raises(EnvelopeRejected) as caught:
        call()
    assert caught.value.hint
    return caught.value.reason


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert sorted(envelope.__all__) == sorted(
        [
            "CHUNK_BYTES",
            "FRAME_BYTES",
            "FRAME_ROOM",
            "MAX_BODY_BYTES",
            "MAX_CHUNKS",
            "MAX_LIFETIME_S",
            "MAX_MESSAGE_BYTES",
            "MAX_NODES",
            "SERVER_NONCE_BYTES",
            "SMALLEST_TOTAL",
            "TICK_S",
            "VERSION",
            "AnswerOpener",
            "AnswerSealer",
            "EnvelopeHeader",
            "NodeKey",
            "OpenRequest",
            "Recipient",
            "SealedChunk",
            "SealedRequest",
            "WrappedKey",
            "constant_total",
            "frames",
            "is_constant_total",
            "open_request",
            "seal_request",
        ]
    )


def test_every_node_it_is_sealed_to_opens_the_same_body(seal, nodes, now) -> None:
    """Each of the K nodes reads the body; the wire form carries all that is needed."""
    sealed = seal(b"the question")
    header = EnvelopeHeader.from_proto(
        wire.EnvelopeHeader.FromString(sealed.header.to_proto().SerializeToString())
    )
    chunks = [SealedChunk.from_proto(chunk.to_proto()) for chunk in sealed.chunks]
    assert header == sealed.header
    for node in nodes:
        assert opened(sealed, node, now, header).body(chunks) == b"the question"


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 3 * CHUNK_BYTES + 9), byte=st.integers(0, 255))
def test_any_body_comes_back(seal, nodes, now, size: int, byte: int) -> None:
    """Bodies of any size up to several chunks come back unchanged, trailing zeros included."""
    body = bytes([byte]) * size
    sealed = seal(body)
    assert opened(sealed, nodes[1], now).body(sealed.chunks) == body


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from([*HASHES, "request_id"]), bit=st.integers(0, 255))
def test_a_changed_bit_in_a_header_field_is_refused(seal, nodes, now, name: str, bit: int) -> None:
    """Every fixed field of the header is bound before the body is looked at."""
    sealed = seal()
    header = replace(sealed.header, **{name: flipped(getattr(sealed.header, name), bit)})
    assert refusal(lambda: opened(sealed, nodes[0], now, header)) in {
        Rejection.DECRYPTION,
        Rejection.COMMITMENT,
    }


@given(bit=st.integers(0, 11))
@settings(deadline=None)
def test_a_changed_expiry_is_refused(seal, nodes, now, bit: int) -> None:
    """A later or earlier expiry does not open, whether or not it lies in the past."""
    sealed = seal()
    header = replace(sealed.header, expires_at=sealed.header.expires_at ^ (1 << bit))
    assert refusal(lambda: opened(sealed, nodes[0], now, header)) in {
        Rejection.DECRYPTION,
        Rejection.EXPIRED,
        Rejection.LIFETIME,
    }


@settings(max_examples=150, deadline=None)
@given(which=st.integers(0, 2), bit=st.integers(0, 1200 * 8 - 1))
def test_a_changed_bit_in_any_wrapped_key_is_refused(seal, nodes, now, which, bit) -> None:
    """Also in the keys of the other nodes: the commitment covers them all."""
    sealed = seal()
    keys = list(sealed.header.keys)
    keys[which] = WrappedKey(keys[which].node_id, flipped(keys[which].sealed, bit))
    header = replace(sealed.header, keys=tuple(keys))
    for node in nodes:
        own = node.node_id == keys[which].node_id
        expected = Rejection.DECRYPTION if own else Rejection.COMMITMENT
        assert refusal(lambda node=node: opened(sealed, node, now, header)) is expected


@settings(max_examples=60, deadline=None)
@given(which=st.integers(0, 2), bit=st.integers(0, 255))
def test_a_changed_bit_in_any_node_id_is_refused(seal, nodes, now, which, bit) -> None:
    """A changed list of nodes opens on none of them."""
    sealed = seal()
    keys = list(sealed.header.keys)
    keys[which] = WrappedKey(flipped(keys[which].node_id, bit), keys[which].sealed)
    keys.sort()
    for node in nodes:
        assert refusal(
            lambda node=node: opened(sealed, node, now, replace(sealed.header, keys=tuple(keys)))
        ) in {Rejection.DECRYPTION, Rejection.NOT_ADDRESSED, Rejection.MALFORMED}


@settings(max_examples=150, deadline=None)
@given(which=st.integers(0, 2), bit=st.integers(0, CHUNK_BYTES * 8 - 1))
def test_a_changed_bit_in_any_chunk_is_refused(seal, nodes, now, which, bit) -> None:
    """A body chunk with one bit changed does not open."""
    sealed = seal(b"q" * (2 * CHUNK_BYTES + 7))
    chunks = list(sealed.chunks)
    chunks[which] = replace(chunks[which], data=flipped(chunks[which].data, bit))
    request = opened(sealed, nodes[2], now)
    assert refusal(lambda: request.body(chunks)) is Rejection.DECRYPTION


@settings(max_examples=60, deadline=None)
@given(bit=st.integers(0, 255))
def test_another_tls_key_is_refused(seal, nodes, now, bit) -> None:
    """The wrapped key opens only at the TLS key the device verified."""
    sealed, node = seal(), nodes[0]
    assert (
        refusal(
            lambda: open_request(
                sealed.header,
                node.key,
                tls_spki_sha256=flipped(node.tls_spki_sha256, bit),
                now=now,
            )
        )
        is Rejection.DECRYPTION
    )


def test_a_changed_last_mark_is_refused(seal, nodes, now) -> None:
    """The end mark is authenticated in both directions: neither early end nor hidden end."""
    sealed = seal(b"q" * (2 * CHUNK_BYTES))
    request = opened(sealed, nodes[0], now)
    early = [replace(sealed.chunks[0], last=True)]
    assert refusal(lambda: request.body(early)) is Rejection.DECRYPTION
    hidden = [*sealed.chunks[:-1], replace(sealed.chunks[-1], last=False)]
    assert refusal(lambda: request.body(hidden)) in {Rejection.DECRYPTION, Rejection.MALFORMED}


def test_order_and_number_of_chunks_are_bound(seal, nodes, now) -> None:
    """Reordered, dropped, repeated, missing and extra chunks are refused."""
    sealed = seal(b"q" * (3 * CHUNK_BYTES))
    a, b, c, d = sealed.chunks
    request = opened(sealed, nodes[0], now)
    assert refusal(lambda: request.body([b, a, c, d])) is Rejection.DECRYPTION
    assert refusal(lambda: request.body([a, c, d])) is Rejection.DECRYPTION
    assert refusal(lambda: request.body([a, a, b, c, d])) is Rejection.DECRYPTION
    assert refusal(lambda: request.body([a, b, c])) is Rejection.TRUNCATED
    assert refusal(lambda: request.body([])) is Rejection.TRUNCATED
    assert refusal(lambda: request.body([a, b, c, d, d])) is Rejection.AFTER_END


def test_chunks_of_another_request_are_refused(seal, nodes, now) -> None:
    """A body belongs to its header."""
    request = opened(seal(), nodes[0], now)
    assert refusal(lambda: request.body(seal().chunks)) is Rejection.DECRYPTION


def test_a_node_it_is_not_sealed_to_is_refused(seal, make_node, now) -> None:
    """A stranger finds no key of its own."""
    assert refusal(lambda: opened(seal(), make_node(), now)) is Rejection.NOT_ADDRESSED


def test_another_nodes_key_does_not_help(seal, nodes, now) -> None:
    """Moving one node's wrapped key under another's id opens for neither."""
    sealed = seal()
    first, second, third = sealed.header.keys
    swapped = (
        WrappedKey(first.node_id, second.sealed),
        WrappedKey(second.node_id, first.sealed),
        third,
    )
    header = replace(sealed.header, keys=swapped)
    reasons = {refusal(lambda node=node: opened(sealed, node, now, header)) for node in nodes}
    assert reasons == {Rejection.DECRYPTION, Rejection.COMMITMENT}


def test_expiry_and_lifetime(seal, nodes, now) -> None:
    """An envelope opens from at most an hour before its expiry, and not at it."""
    sealed, node = seal(), nodes[0]
    expiry = sealed.header.expires_at
    assert refusal(lambda: opened(sealed, node, expiry)) is Rejection.EXPIRED
    assert refusal(lambda: opened(sealed, node, expiry - MAX_LIFETIME_S - 1)) is Rejection.LIFETIME
    assert opened(sealed, node, expiry - 0.5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, Rejection.VERSION),
        ({"request_id": b"short"}, Rejection.MALFORMED),
        ({"token_hash": b""}, Rejection.MALFORMED),
        ({"policy_digest": b"p" * 33}, Rejection.MALFORMED),
        ({"key_commitment": b"p" * 31}, Rejection.MALFORMED),
        ({"expires_at": -1}, Rejection.MALFORMED),
        ({"expires_at": 2**64}, Rejection.MALFORMED),
        ({"keys": ()}, Rejection.MALFORMED),
        ({"keys": (WrappedKey(b"n" * 32, b"s" * 99),)}, Rejection.MALFORMED),
        ({"keys": (WrappedKey(b"n" * 31, b"s" * 1200),)}, Rejection.MALFORMED),
        ({"keys": (WrappedKey(b"n" * 32, b"s" * 1200),) * 2}, Rejection.MALFORMED),
        ({"keys": (WrappedKey(b"n" * 32, b"s" * 1200),) * 17}, Rejection.TOO_LARGE),
    ],
)
def test_a_header_of_the_wrong_shape_cannot_be_made(seal, change, reason) -> None:
    """Sizes, order and version are checked before anything is opened."""
    assert refusal(lambda: replace(seal().header, **change)) is reason


def test_limits_are_checked_before_anything_is_read(seal, nodes, now, make_node) -> None:
    """Too much body, too many nodes, chunks and keys are refused by size alone."""
    assert refusal(lambda: seal(bytes(MAX_BODY_BYTES + 1))) is Rejection.TOO_LARGE
    assert refusal(lambda: seal(b"", (nodes[0],) * 17)) is Rejection.TOO_LARGE
    assert refusal(lambda: seal(b"", (nodes[0],) * 2)) is Rejection.MALFORMED
    assert refusal(lambda: seal(b"", ())) is Rejection.MALFORMED
    assert refusal(lambda: SealedChunk(data=bytes(CHUNK_BYTES + 17))) is Rejection.TOO_LARGE
    many = wire.EnvelopeHeader(version=1, keys=[wire.WrappedKey()] * 1000)
    assert refusal(lambda: EnvelopeHeader.from_proto(many)) is Rejection.TOO_LARGE


def test_the_largest_body_fits_its_chunks(seal, nodes, now) -> None:
    """``MAX_BODY_BYTES`` seals into exactly ``MAX_CHUNKS`` chunks and opens."""
    sealed = seal(bytes(MAX_BODY_BYTES))
    assert len(sealed.chunks) == MAX_CHUNKS
    assert len(opened(sealed, nodes[0], now).body(sealed.chunks)) == MAX_BODY_BYTES


def test_a_bad_public_key_is_refused(make_node) -> None:
    """Keys of the wrong size or form, or of low order, are refused, not used."""

    class Bad:
        node_id = b"n" * 32
        tls_spki_sha256 = checkpoint_hash = b"t" * 32

        def __init__(self, key: bytes) -> None:
            self.hpke_public_key = key

    low_order = make_node().hpke_public_key[:1184] + bytes(32)
    for key in (b"", bytes(1215), b"\xff" * 1216, low_order):
        assert (
            refusal(
                lambda key=key: seal_request(
                    b"", [Bad(key)], token_hash=bytes(32), policy_digest=bytes(32), expires_at=1
                )
            )
            is Rejection.MALFORMED
        )


def test_checkpoints_of_several_nodes(make_node, seal) -> None:
    """One checkpoint is bound as it is; several are bound together, whatever their order."""
    one, two = make_node(checkpoint_hash=b"1" * 32), make_node(checkpoint_hash=b"2" * 32)
    alone = seal(b"", (one,)).header.checkpoint_hash
    assert alone == b"1" * 32
    both = seal(b"", (one, two)).header.checkpoint_hash
    assert both == seal(b"", (two, one)).header.checkpoint_hash
    assert both not in {b"1" * 32, b"2" * 32}


def test_a_worker_opens_with_the_handed_secret_alone(seal, nodes, now) -> None:
    """The keyholder's secret opens body and answer in another process; a wrong one does not."""
    sealed, node = seal(), nodes[0]
    secret = opened(sealed, node, now).to_secret()
    worker = OpenRequest.from_secret(sealed.header, secret, node_id=node.node_id)
    assert worker.body(sealed.chunks) == b"the question"
    assert len(secret) == 64
    for wrong, reason in ((bytes(64), Rejection.COMMITMENT), (b"", Rejection.MALFORMED)):
        assert (
            refusal(
                lambda wrong=wrong: OpenRequest.from_secret(
                    sealed.header, wrong, node_id=node.node_id
                )
            )
            is reason
        )


def test_requests_share_nothing(seal) -> None:
    """The same body sealed twice has no common id, key or ciphertext."""
    one, two = seal(), seal()
    assert one.header.request_id != two.header.request_id
    assert one.header.key_commitment != two.header.key_commitment
    assert one.chunks[0].data != two.chunks[0].data


def test_no_secret_and_no_content_in_repr(seal, nodes, now) -> None:
    """What a debugger prints of keys, requests and chunks holds neither."""
    sealed = seal(b"the question")
    request = opened(sealed, nodes[0], now)
    shown = repr((sealed, request, request.answer(), nodes[0].key, sealed.chunks[0]))
    shown += repr(request._secrets)
    assert "question" not in shown
    for secret in (request.to_secret()[:32], request.to_secret()[32:]):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_a_key_is_its_seed() -> None:
    """The same seed gives the same pair; another size of seed is refused."""
    assert NodeKey(b"s" * 32).node_id == NodeKey(b"s" * 32).node_id
    assert NodeKey.generate().node_id != NodeKey.generate().node_id
    assert refusal(lambda: NodeKey(b"short")) is Rejection.MALFORMED
