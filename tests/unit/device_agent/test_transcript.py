"""Saved conversations: the exact inverse, and nothing else is accepted."""

import json

import pytest

from device_agent.transcript import Transcript
from inference.text import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import UsageError
from router.vocabulary import Reason

MESSAGES = '{"version": 1, "data_class": "public", "messages": '
CALL = ToolCall(id="c1", name="weather", arguments=Content('{"city": "Oslo"}'))
SAID = (
    ChatMessage(role="system", text=Content("be brief")),
    ChatMessage(role="user", text=Content("Regnet i Oslo? ☔")),
    ChatMessage(role="assistant", text=Content(""), tool_calls=(CALL,)),
    ChatMessage(role="tool", text=Content('{"mm": 3}'), tool_call_id="c1"),
)


def test_what_is_saved_is_restored() -> None:
    """Roles, texts, calls and results, in order; `repr` shows none of it."""
    transcript = Transcript(messages=SAID)
    assert Transcript.from_json(transcript.to_json()) == transcript
    assert json.loads(transcript.to_json())["version"] == 1
    assert "Oslo" not in repr(transcript)


async def test_a_restored_session_goes_on(make_bench) -> None:
    """In another agent, as if nothing had been between."""
    benches = make_bench(), make_bench()
    async with benches[0].agent as agent:
        session = agent.session(instructions="be brief")
        await session.respond("one")
        saved = Transcript.of(session).to_json()
    async with benches[1].agent as agent:
        session = agent.session()
        Transcript.from_json(saved).restore(session)
        await session.respond("two")
    prompt = "".join(map(chr, benches[1].engine.seen[0][0]))
    assert prompt == "system: be brief\nuser: one\nassistant: from the device\nuser: two\n"


async def test_a_restored_secret_stays_a_secret(make_bench, scripted) -> None:
    """Whatever class the new session is given: the cloud here fails the test when it is touched."""
    async with make_bench().agent as agent:
        session = agent.session(data_class="secret")
        await session.respond("my PIN is 4711")
        saved = Transcript.of(session).to_json()
    async with make_bench(cloud=scripted.ForbiddenCloud()).agent as agent:
        session = agent.session(data_class="public", mode="prefer_in_cloud")
        Transcript.from_json(saved).restore(session)
        reply = await session.respond("what is it?")
    assert reply.decision.reason is Reason.DATA_SECRET


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kestrel",
        "[" * 100_000,
        "[]",
        '{"version": 1}',
        '{"version": 2, "data_class": "public", "messages": []}',
        '{"version": 1, "data_class": "public", "messages": {}}',
        '{"version": 1, "data_class": "kestrel", "messages": []}',
        '{"version": 1, "messages": []}',
        MESSAGES + '["kestrel"]}',
        MESSAGES + '[{"role": "user"}]}',
        MESSAGES + '[{"role": "user", "text": 3}]}',
        MESSAGES + '[{"role": "kestrel", "text": ""}]}',
        MESSAGES + '[{"role": "user", "text": "", "kestrel": 1}]}',
        MESSAGES + '[{"role": "user", "text": "", "tool_calls": [{"id": "c"}]}]}',
        MESSAGES + '[{"role": "assistant", "text": "", "tool_calls": 3}]}',
        MESSAGES + '[{"role": "tool", "text": ""}]}',
    ],
)
def test_what_is_no_transcript_is_one_typed_error(text) -> None:
    """Which quotes nothing of the text."""
    with pytest.raises(UsageError) as raised:
        Transcript.from_json(text)
    assert "kestrel" not in str(raised.value)
