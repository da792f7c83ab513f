"""What an app's author gets wrong first is said at once, in words that mend it."""

from typing import Any

import pytest

from device_agent import Options
from device_agent.testing import FakeAgent
from lanai.errors import UsageError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"mode": "cloud"}, "only_in_cloud"),
        ({"data_class": "private"}, "personal"),
        ({"instructions": 5}, "str"),
        ({"approve": True}, "function"),
        ({"redact": "names"}, "function"),
        ({"consent": "no"}, "None"),
    ],
)
async def test_a_session_refuses_what_it_cannot_mean(tmp_path, given, named) -> None:
    """When it is made, not at the first request that would leave; the hint says what fits."""
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        with pytest.raises(UsageError) as caught:
            agent.session(**given)
    assert named in str(caught.value.hint)


@pytest.mark.parametrize(
    ("prompt", "asking", "named"),
    [
        (5, {}, "str"),
        ("hi", {"options": {"max_tokens": 5}}, "Options(max_tokens"),
        ("hi", {"mode": "cloud"}, "only_in_cloud"),
        ("hi", {"data_class": "private"}, "personal"),
        ("hi", {"consent": "no"}, "None"),
        ("hi", {"tools": len}, "tools=[a_function]"),
    ],
)
async def test_a_prompt_refuses_what_it_cannot_mean(tmp_path, prompt, asking, named) -> None:
    """And the session answers the next one."""
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        session = agent.session()
        with pytest.raises(UsageError) as caught:
            await session.respond(prompt, **asking)
        assert named in str(caught.value.hint)
        assert (await session.respond("hi")).text == "yes"


@pytest.mark.parametrize(
    ("asking", "named"),
    [
        ({"max_tokens": 5}, r"options=Options\(max_tokens=…\)"),
        ({"tool": []}, "did you mean 'tools'"),
        ({"frobnicate": 1}, "'frobnicate'$"),
    ],
)
async def test_an_unknown_keyword_says_what_was_meant(
    tmp_path, asking: dict[str, Any], named: str
) -> None:
    """Where it belongs, or what is near."""
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        with pytest.raises(TypeError, match=named):
            await agent.session().respond("hi", **asking)


async def test_messages_that_are_none_are_refused_whole(tmp_path) -> None:
    """The conversation is as it was."""
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        session = agent.session()
        await session.respond("hi", options=Options(max_tokens=3))
        before = session.transcript
        with pytest.raises(UsageError, match="ChatMessage"):
            session.restore([{"role": "user", "content": "x"}])
        assert session.transcript == before
