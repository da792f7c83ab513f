"""The device's half of the stream's shape: what it asks for, what it takes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from device_agent.cloud import CloudClient
from device_agent.testing import InMemoryCloud, Script
from device_agent.testing import node as scripted
from inference.engine import Sampling
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, UsageError
from protos.lanai.v1alpha.envelope_pb2 import CONSTANT, PADDED, AnswerFrame, Final
from trust.envelope import SMALLEST_TOTAL

FILLER = AnswerFrame(filler=True)
TEXT = AnswerFrame(text="a")
END = AnswerFrame(final=Final(finish_reason="stop", model="toy"))
NONCE = 1


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``says(*frames)``: every node answers with these frames and no others."""

    def made(*frames: AnswerFrame) -> None:
        marked = [(frame, number == len(frames) - 1) for number, frame in enumerate(frames)]
        monkeypatch.setattr(scripted, "_shaped", lambda _said, _shape: iter(marked))

    return made


async def read(client: CloudClient, request) -> tuple[str, str]:
    """The answer's text, and the shape on its receipt."""
    async with client.open(request, deadline_s=5) as stream:
        text = "".join([piece async for piece in stream])
        return text, stream.receipt.shape


async def test_the_shape_travels_under_the_seal(cloud, client, asked) -> None:
    """Padded is the default; the node reads what was asked for."""
    await read(client, asked)
    await read(client, replace(asked, shape="constant"))
    assert [body.shape for body in cloud.bodies] == [PADDED, CONSTANT]


async def test_fillers_are_not_part_of_the_answer(
    cloud: InMemoryCloud, client: CloudClient, asked
) -> None:
    """A constant answer comes whole, without its fillers, and the receipt says its shape."""
    cloud.script = Script(pieces=("Hello", " world"))
    assert await read(client, replace(asked, shape="constant")) == ("Hello world", "constant")
    assert await read(client, asked) == ("Hello world", "padded")


async def test_a_failure_ends_a_constant_answer(cloud, client, asked) -> None:
    """The node's word under the seal is the refusal, after the last filler."""
    cloud.script = Script(pieces=(), failure=RefusalCode.CONTEXT_OVERFLOW)
    async with client.open(replace(asked, shape="constant"), deadline_s=5) as stream:
        with pytest.raises(CloudRefused) as caught:
            async for _ in stream:
                pass
    assert caught.value.refusal is RefusalCode.CONTEXT_OVERFLOW
    assert stream._traffic.frames_received == NONCE + SMALLEST_TOTAL


@pytest.mark.parametrize(
    ("shape", "frames"),
    [
        ("padded", (FILLER, TEXT, END)),
        ("padded", (TEXT, FILLER, END)),
        ("constant", (*[FILLER] * (SMALLEST_TOTAL - 1), FILLER)),
        ("constant", (*[FILLER] * (SMALLEST_TOTAL - 2), AnswerFrame(filler=False), END)),
        ("constant", (TEXT, END)),
        ("constant", (*[FILLER] * SMALLEST_TOTAL, END)),
        ("constant", (*[AnswerFrame()] * (SMALLEST_TOTAL - 1), END)),
    ],
    ids=[
        "padded, before the text",
        "padded, after it",
        "a filler as the end",
        "one that says no",
        "too short for the shape",
        "a total between buckets",
        "empty frames",
    ],
)
async def test_what_is_not_of_the_asked_shape_is_refused(
    client, asked, says, shape, frames
) -> None:
    """A node that does not keep to the asked shape gives no answer, and no receipt."""
    says(*frames)
    with pytest.raises(EnvelopeRejected):
        await read(client, replace(asked, shape=shape))


async def test_an_unknown_shape_is_not_sent(client, asked) -> None:
    """A word that is no shape costs no token."""
    with pytest.raises(UsageError):
        await read(client, replace(asked, shape="plain", sampling=Sampling()))
