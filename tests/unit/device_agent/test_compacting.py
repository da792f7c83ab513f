"""A conversation that no longer fits is told in short: when asked to, or by itself."""

import pytest

from device_agent.testing import FakeAgent
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import ContextOverflow, EngineCrashed, UsageError


def talk(turns: int, size: int = 80) -> list[ChatMessage]:
    return [
        ChatMessage(role=role, text=Content(f"{role[0]}{turn} " + "x" * size))
        for turn in range(turns)
        for role in ("user", "assistant")
    ]


async def test_an_overflow_is_mended_by_a_summary(tmp_path) -> None:
    """Instructions and last messages stay as they were said; the next prompt fits again."""
    agent = FakeAgent(tmp_path, ["They spoke of x.", "yes"], device_context_tokens=700)
    async with agent:
        session = agent.session(instructions="Be brief.", mode="only_on_device")
        said = talk(4)
        session.restore([*session.transcript, *said])
        with pytest.raises(ContextOverflow):
            await session.respond("and now?")
        assert await session.compact(keep=2, max_tokens=20)
        head, *kept = session.transcript
        assert head.role == "system"
        assert head.text == "Be brief.\n\nWhat was said before, in short: They spoke of x."
        assert kept == said[-2:]
        assert (await session.respond("and now?")).text == "yes"


async def test_what_is_too_long_at_once_is_folded(tmp_path) -> None:
    """Each request has the summary so far and the messages that still fit beside it."""
    answers = [f"summary {number}" for number in range(20)]
    async with FakeAgent(tmp_path, answers, device_context_tokens=512) as agent:
        session = agent.session(mode="only_on_device")
        session.restore(talk(8))
        assert await session.compact(keep=0, max_tokens=40)
        asked = agent.prompts
    assert len(asked) > 2
    assert all(len(prompt) <= 512 - 40 for prompt in asked)
    assert f"summary {len(asked) - 2}" in asked[-1]
    told = "".join(asked)
    assert all(told.count(f"user: u{turn} ") == 1 for turn in range(8))
    assert session.transcript[0].text.endswith(f"summary {len(asked) - 1}")


async def test_a_short_talk_stays_as_it_is(tmp_path) -> None:
    """And so does one whose summary failed."""
    async with FakeAgent(tmp_path, [EngineCrashed("gone")]) as agent:
        session = agent.session(instructions="Be brief.")
        session.restore([*session.transcript, *talk(1)])
        before = session.transcript
        assert not await session.compact(keep=2)
        with pytest.raises(EngineCrashed):
            await session.compact(keep=0)
        with pytest.raises(UsageError):
            await session.compact(keep=-1)
        assert session.transcript == before


async def test_the_oldest_are_told_in_short(tmp_path) -> None:
    """The reply counts them, and the transcript goes on from the summary."""
    agent = FakeAgent(tmp_path, ["They spoke of x.", "yes"], device_context_tokens=900)
    async with agent:
        session = agent.session(
            instructions="Be brief.", mode="only_on_device", overflow="summarize"
        )
        first = await session.respond("hello", options=None)
        assert first.summarized == 0
        session.restore([*session.transcript[:1], *talk(6)])
        reply = await session.respond("and now?")
        head, *rest = session.transcript
    assert (reply.text, reply.summarized) == ("yes", 10)
    assert reply.to_json_dict()["summarized"] == 10
    assert head.text.startswith("Be brief.\n\nWhat was said before, in short:")
    assert [each.text[:2] for each in rest] == ["u5", "a5", "an", "ye"]


async def test_off_unless_asked_for(tmp_path) -> None:
    """An overflow stays an error; another word for it is one too."""
    async with FakeAgent(tmp_path, ["yes"], device_context_tokens=700) as agent:
        session = agent.session(mode="only_on_device")
        session.restore(talk(6))
        with pytest.raises(ContextOverflow):
            await session.respond("and now?")
        with pytest.raises(UsageError):
            agent.session(overflow="forget")


async def test_a_summary_that_fails_changes_nothing(tmp_path) -> None:
    """The error is the request's, the transcript as before, the session free again."""
    answers = [EngineCrashed("gone"), "short", "yes"]
    async with FakeAgent(tmp_path, answers, device_context_tokens=900) as agent:
        session = agent.session(mode="only_on_device", overflow="summarize")
        session.restore(talk(6))
        before = session.transcript
        with pytest.raises(EngineCrashed):
            await session.respond("and now?")
        assert session.transcript == before
        assert (await session.respond("and now?")).text == "yes"


async def test_the_summary_is_asked_under_the_request_s_own_rules(make_bench, scripted) -> None:
    """A request that must stay is not told to a cloud in short, whatever the session says."""
    cloud = scripted.Cloud()
    async with make_bench(cloud=cloud).agent as agent:
        session = agent.session(mode="auto", overflow="summarize")
        session.restore(talk(5, size=25))
        reply = await session.respond("and now?", mode="only_on_device")
        session.restore(talk(5, size=25))
        secret = await session.respond("and now?", data_class="secret")
    assert (reply.summarized, secret.summarized) == (8, 8)
    assert cloud.asked == []
