"""A conversation that no longer fits is told in short."""

import pytest

from device_agent.testing import FakeAgent
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import ContextOverflow, EngineCrashed, UsageError


def talk(turns: int, size: int = 10) -> list[ChatMessage]:
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
        said = talk(4, size=80)
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
        session.restore(talk(8, size=80))
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
