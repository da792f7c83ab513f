"""The endpoint outside: asked for, consented to, public, in the clear, and never by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest

from device_agent.agent import AsyncAgent
from device_agent.cloud_seam import CloudAsk
from device_agent.departure import Proposal
from device_agent.external import Endpoint, Key, Outgoing, configured_endpoint
from device_agent.external.client import HttpExternal
from device_agent.sensitive import PatternDetector
from inference.engine import Sampling
from inference.text import ChatMessage, Tool
from lanai.content import Content
from lanai.errors import (
    ConfigError,
    ConsentRefused,
    DeadlineExceeded,
    ExternalError,
    NoRoute,
    UsageError,
)
from lanai.settings import Settings
from router.policy_parts import Raised
from router.vocabulary import DataClass, Destination, Finding, Reason, Stage

URL = "https://outside.invalid/v1"


def events(*texts: str, finish: str | None = "stop") -> bytes:
    chunks = [{"model": "huge-1", "choices": [{"delta": {"content": each}}]} for each in texts]
    end = {"choices": [{"delta": {}, "finish_reason": finish}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    rows = [*chunks, end, usage]
    return "".join(f"data: {json.dumps(row)}\n\n" for row in rows).encode() + b"data: [DONE]\n\n"


class Outside(httpx2.AsyncBaseTransport):
    """Answers in turn; remembers what it was sent."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx2.Response(answer, content=b"a word of theirs")
        return httpx2.Response(200, stream=Bytes(answer))


class Bytes(httpx2.AsyncByteStream):
    def __init__(self, raw: object) -> None:
        self.raw = raw

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = max(11, len(self.raw) // 1000)
        for at in range(0, len(self.raw), size):
            yield self.raw[at : at + size]


@pytest.fixture
def make_agent(make_bench, scripted):
    def make(outside: Outside, *, detector=None, **more):
        bench = make_bench(**more)
        endpoint = Endpoint(url=URL, model="huge", key=Key("k" * 20), timeout_s=60)
        external = HttpExternal(endpoint, transport=outside)
        runtime = replace(bench.agent._runtime, external=external, detector=detector)
        agent = AsyncAgent(runtime, bench.agent._settings)
        return agent, bench

    return make


def yes(_: Proposal) -> bool:
    return True


async def test_an_answer_from_outside_says_so_everywhere(make_agent) -> None:
    """Reply, decision, trace, ledger; the app was told where to, how many bytes, what class."""
    outside, told = Outside(events("It ", "scatters.")), []
    agent, bench = make_agent(outside)

    def approve(proposal: Proposal) -> bool:
        told.append(proposal)
        return True

    async with agent:
        session = agent.session(data_class="public", approve=approve)
        async with session.stream("Why is the sky blue?", external="first") as stream:
            pieces = [event.text async for event in stream]
        reply = stream.final
        spans = {span.name for span in bench.store.spans(reply.trace_id)}
    assert [each for each in pieces if each] == ["It ", "scatters."]
    assert (reply.source, reply.decision.reason) == (Destination.EXTERNAL, Reason.EXTERNAL_ASKED)
    assert (reply.model, reply.receipt) == ("huge-1", None)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 4)
    assert "outside, at an endpoint that nobody attested" in reply.decision.explain()
    assert "lanai.external" in spans
    (left,) = bench.ledger.disclosures()
    body = outside.asked[0].content
    assert (left.destination, left.endpoint, left.outcome) == ("external", URL, "answered")
    assert (left.bytes_sent, left.data_class) == (len(body), "public")
    assert (left.node, left.measurement) == (None, None)
    (proposal,) = told
    assert (proposal.destination, proposal.endpoint) == ("external", URL)
    assert (proposal.bytes, proposal.data_class) == (len(body), "public")
    assert outside.asked[0].headers["authorization"] == f"Bearer {'k' * 20}"
    assert json.loads(body)["messages"] == [{"role": "user", "content": "Why is the sky blue?"}]


async def test_without_a_yes_nothing_leaves(make_agent) -> None:
    """No callback is no yes. The device answers, visibly."""
    outside = Outside(events("never"))
    agent, bench = make_agent(outside)
    async with agent:
        for approve in (None, lambda _: False, lambda _: 1):
            session = agent.session(data_class="public", approve=approve)
            reply = await session.respond("hello", external="first")
            assert (reply.source, reply.fallback) == (Destination.DEVICE, Reason.NO_CONSENT)
            assert reply.decision.stage is Stage.FALLBACK
    assert (outside.asked, bench.ledger.disclosures()) == ([], ())


@pytest.mark.parametrize(
    ("session", "asking"),
    [
        ({"data_class": "personal"}, {}),
        ({"data_class": "public"}, {"data_class": "secret"}),
        ({"data_class": "public", "consent": False}, {}),
        ({"data_class": "public"}, {"mode": "only_on_device"}),
    ],
)
async def test_the_app_cannot_ask_it_out_of_a_rule(make_agent, session, asking) -> None:
    """Personal or secret data, a refused consent, a mode of one side: the device answers."""
    outside = Outside(events("never"))
    agent, bench = make_agent(outside)
    async with agent:
        reply = await agent.session(approve=yes, **session).respond(
            "hello", external="first", **asking
        )
    assert (reply.source, outside.asked) == (Destination.DEVICE, [])
    assert any(rule.allows_external is False for rule in reply.decision.rules)
    assert bench.ledger.disclosures() == ()


async def test_what_the_detector_finds_keeps_it_here(make_agent) -> None:
    """Said to be public, and it is not: the class is raised before the rules are asked."""
    outside = Outside(events("never"))
    agent, _ = make_agent(outside, detector=PatternDetector())
    async with agent:
        session = agent.session(data_class="public", approve=yes)
        reply = await session.respond("Write to anna@example.org", external="first")
    assert (reply.source, outside.asked) == (Destination.DEVICE, [])
    reasons = [rule.reason for rule in reply.decision.rules if rule.allows_external is False]
    assert reasons == [Reason.EXTERNAL_NOT_PUBLIC]


async def test_what_redact_brings_in_is_noticed_by_the_sender(make_agent) -> None:
    """The router has let it pass; the last check looks at the very text that leaves."""
    outside = Outside(events("never"))
    agent, bench = make_agent(outside, detector=PatternDetector())
    async with agent:
        session = agent.session(
            data_class="public", approve=yes, redact=lambda text: f"{text} anna@example.org"
        )
        reply = await session.respond("hello", external="first")
    assert (reply.source, reply.fallback) == (Destination.DEVICE, Reason.EXTERNAL_FAILED)
    assert (outside.asked, bench.ledger.disclosures()) == ([], ())


async def test_never_unless_asked_and_last_only_where_nothing_is_left(make_agent) -> None:
    """`last` leaves the device its requests; without `external` a dead end stays one."""
    outside = Outside(events("from outside"))
    agent, _ = make_agent(outside)
    async with agent:
        session = agent.session(data_class="public", approve=yes)
        assert (await session.respond("hello")).source is Destination.DEVICE
        assert (await session.respond("hello", external="last")).source is Destination.DEVICE
        with pytest.raises(UsageError, match="external"):
            await session.respond("hello", external="always")
    assert outside.asked == []
    agent, _ = make_agent(outside, installed=False)
    async with agent:
        session = agent.session(data_class="public", approve=yes)
        reply = await session.respond("hello", external="last")
        assert (reply.source, reply.decision.reason) == (
            Destination.EXTERNAL,
            Reason.EXTERNAL_LAST,
        )


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (httpx2.ConnectError("refused"), 2),
        (503, 2),
        (401, 1),
        (302, 1),
        (b"data: not json\n\n", 1),
        (b'data: {"error": {"message": "x"}}\n\n', 1),
        (events("half", finish=None), 1),
        (events("tool", finish="tool_calls"), 1),
        (b"data: " + b"x" * (2 << 20), 1),
    ],
)
async def test_its_failures_are_typed_and_the_device_answers(make_agent, answer, tries) -> None:
    """Tried again only where nothing came; after a shown character the error is raised."""
    outside = Outside(answer)
    agent, bench = make_agent(outside)
    async with agent:
        session = agent.session(data_class="public", approve=yes)
        request = session.stream("hello", external="first")
        async with request as stream:
            first = answer in (events("half", finish=None), events("tool", finish="tool_calls"))
            if first:
                assert (await anext(stream)).text in ("half", "tool")
                with pytest.raises(ExternalError) as caught:
                    await anext(stream)
                assert "word of theirs" not in str(caught.value)
            else:
                async for _ in stream:
                    pass
                assert stream.final.fallback is Reason.EXTERNAL_FAILED
    assert len(outside.asked) == tries
    assert [each.outcome for each in bench.ledger.disclosures()] == ["ExternalError"]


async def test_a_second_try_may_succeed(make_agent) -> None:
    """Before the first byte, and one disclosure for both."""
    agent, bench = make_agent(Outside(429, events("now")))
    async with agent:
        session = agent.session(data_class="public", approve=yes)
        assert (await session.respond("hello", external="first")).text == "now"
    assert len(bench.ledger.disclosures()) == 1


async def test_a_slow_endpoint_meets_its_deadline() -> None:
    """`external_timeout_s` is from the first byte sent to the last that came."""

    class Never(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await asyncio.Event().wait()
            raise AssertionError

    external = HttpExternal(Endpoint(url=URL, model="huge", timeout_s=0.05), transport=Never())
    with pytest.raises(DeadlineExceeded):
        async with external.open(outgoing()):
            pass
    await external.close()


async def test_the_deadline_never_interrupts_the_app_itself(monkeypatch) -> None:
    """Between two pieces the time is the app's; the next read is then too late."""
    loop, endpoint = asyncio.get_running_loop(), Endpoint(url=URL, model="huge", timeout_s=60)
    clock = loop.time
    external = HttpExternal(endpoint, transport=Outside(events("one", "two") * 2))
    async with external.open(outgoing()) as stream:
        pieces = aiter(stream)
        assert await anext(pieces) == "one"
        # The app shows the piece, slowly.
        monkeypatch.setattr(loop, "time", lambda: clock() + 61)
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await anext(pieces)
    await external.close()


def ask(**more: object) -> CloudAsk:
    said = (ChatMessage(role="user", text=Content("write to anna@example.org")),)
    base = CloudAsk(messages=said, max_tokens=8, sampling=Sampling(), stop=())
    return replace(base, **more)


def outgoing(**more: object) -> Outgoing:
    given = {"ask": ask(), "data_class": DataClass.PUBLIC, "raised": Raised(), "detector": None}
    return Outgoing(**(given | more))


@pytest.mark.parametrize("data_class", [DataClass.PERSONAL, DataClass.SECRET])
def test_the_sender_takes_nothing_but_public_text(data_class) -> None:
    """By type: what is to be sent cannot be made of anything else."""
    with pytest.raises(NoRoute, match="external_not_public"):
        outgoing(data_class=data_class)
    raised = Raised(by={Finding.CONTACT: DataClass.PERSONAL})
    with pytest.raises(NoRoute, match="external_not_public"):
        outgoing(raised=raised, detector=PatternDetector())
    with pytest.raises(NoRoute, match="external_cannot"):
        outgoing(ask=ask(tools=(Tool(name="look", description="", parameters={}),)))
    tool = ChatMessage(role="tool", text=Content("x"), tool_call_id="1")
    with pytest.raises(NoRoute, match="external_cannot"):
        outgoing(ask=ask(messages=(tool,)))


async def test_the_client_takes_nothing_unchecked() -> None:
    """An ask that nobody checked is refused at the door."""
    outside = Outside(events("never"))
    external = HttpExternal(Endpoint(url=URL, model="huge"), transport=outside)
    with pytest.raises(UsageError, match="checked"):
        async with external.open(ask()):
            pass
    assert outside.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://outside.invalid/v1",
        "http://127.0.0.1.evil.invalid/v1",
        "https://user:key@outside.invalid/v1",
        "https://outside.invalid/v1?key=1",
        "https://outside.invalid/v1#x",
        "ftp://outside.invalid",
        "outside.invalid/v1",
        "https://",
        "https://[::1",
        "https://outside.invalid:99999/v1",
        "",
    ],
)
def test_urls_that_are_refused(url) -> None:
    """Plain HTTP to elsewhere, and anything that could carry a key."""
    with pytest.raises(ConfigError):
        Endpoint(url=url, model="huge")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1/", "http://[::1]:1", "http://localhost"])
def test_plain_http_is_for_this_machine(url) -> None:
    """Such as `lanai serve` itself."""
    assert not Endpoint(url=url, model="huge").url.endswith("/")


def test_the_key_is_named_never_shown(tmp_path) -> None:
    """A variable's name or a file; the settings hold no key, and no repr shows one."""
    file = tmp_path / "key"
    file.write_text("secret-of-file\n")
    base = {"external_url": URL, "external_model": "huge"}
    by_file = configured_endpoint(Settings(**base, external_key_file=file), {})
    by_name = configured_endpoint(
        Settings(**base, external_key_variable="THEIR_KEY"), {"THEIR_KEY": "secret-of-name"}
    )
    assert (by_file.key.header(), by_name.key.header()) == (
        "Bearer secret-of-file",
        "Bearer secret-of-name",
    )
    assert "secret" not in repr(by_file) + repr(by_name) + str(by_name.key)
    assert configured_endpoint(Settings(), {}) is None
    for wrong in (
        Settings(external_url=URL),
        Settings(**base, external_key_variable="NOT_SET"),
        Settings(**base, external_key_file=tmp_path / "none"),
    ):
        with pytest.raises(ConfigError):
            configured_endpoint(wrong, {})
    with pytest.raises(ConfigError):
        Key("two words")
    with pytest.raises(ConfigError):
        Key("line\nbreak")


async def test_the_app_may_refuse_at_the_last_place_too(make_agent) -> None:
    """Where neither device nor cloud is left, a no is the end."""
    agent, _ = make_agent(Outside(events("never")), installed=False)
    async with agent:
        session = agent.session(data_class="public", approve=lambda _: False)
        with pytest.raises(ConsentRefused):
            await session.respond("hello", external="last")
