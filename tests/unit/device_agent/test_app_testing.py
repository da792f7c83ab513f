"""`device_agent.testing` as an app uses it in its own tests."""

import json
from pathlib import Path

import pytest

from device_agent import Agent, AsyncAgent, ChatMessage, Tool
from device_agent.testing import FakeAgent, InMemoryCloud, RecordedCloud, Script, record
from lanai.errors import CloudUnavailable, EngineCrashed, ModelNotFound, UsageError
from router.vocabulary import Destination, Reason, Stage

# The app under test.


async def title_of(agent: AsyncAgent, text: str) -> str:
    """A title for a note, or its first words when nothing answers."""
    try:
        reply = await agent.session(instructions="Give a title.").respond(text)
    except EngineCrashed:
        return text[:10]
    return reply.text.strip()


# Its tests.


async def test_an_app_gets_the_answer_it_was_written_for(tmp_path) -> None:
    """And the test sees what the device was asked."""
    async with FakeAgent(tmp_path, ["A walk", "A swim"]) as agent:
        assert await title_of(agent, "We walked.") == "A walk"
        assert await title_of(agent, "We swam.") == "A swim"
        assert agent.prompts == (
            "system: Give a title.\nuser: We walked.\n",
            "system: Give a title.\nuser: We swam.\n",
        )


async def test_an_app_meets_a_failure(tmp_path) -> None:
    """An error in an answer's place; no answers at all are a model that is not installed."""
    async with FakeAgent(tmp_path, [EngineCrashed("gone"), "Back"]) as agent:
        assert await title_of(agent, "We walked far.") == "We walked "
        assert await title_of(agent, "We swam.") == "Back"
    async with FakeAgent(tmp_path) as agent:
        assert not await agent.availability()
        with pytest.raises(ModelNotFound):
            await title_of(agent, "text")


def test_the_blocking_face_takes_it_too(tmp_path) -> None:
    """Bytes of several make one character; length is counted in tokens, here bytes."""
    with Agent(FakeAgent(tmp_path, ["smørrebrød ☔"])) as agent:
        reply = agent.session().respond("what?")
    assert reply.text == "smørrebrød ☔"
    assert reply.usage.output_tokens == len("smørrebrød ☔".encode())


async def test_typed_answers_and_tools_are_real(tmp_path) -> None:
    """The scripted text is read as a real model's is."""
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    weather = Tool(name="weather", parameters={"type": "object", "properties": {"city": {}}})
    async with FakeAgent(tmp_path, ['{"days": 3}', call]) as agent:
        reply = await agent.session().respond("how long?", into=dict[str, int])
        assert reply.value == {"days": 3}
        reply = await agent.session().respond("rain?", tools=[weather])
    (made,) = reply.tool_calls
    assert (made.name, json.loads(made.arguments)) == ("weather", {"city": "Oslo"})


@pytest.fixture
async def recording(tmp_path: Path) -> Path:
    """Made with a cloud in memory, as an app makes one with its cluster."""
    script = Script(pieces=("Salt ", "from rivers."))
    (tmp_path / "cloud").mkdir()
    cloud = InMemoryCloud(script=script).client(tmp_path / "cloud")
    path = tmp_path / "sea.json"
    agent, recorder = record(FakeAgent(tmp_path, ["device"], cloud=cloud))
    async with agent:
        reply = await agent.session(mode="only_in_cloud").respond("Why is the sea salty?")
    assert reply.text == "Salt from rivers."
    recorder.save(path)
    return path


async def test_a_recorded_answer_is_played(tmp_path, recording) -> None:
    """With its receipt; the ledger of the test's agent has the disclosure. No prompt is kept."""
    cloud = RecordedCloud.load(recording)
    async with FakeAgent(tmp_path / "test", ["device"], cloud=cloud) as agent:
        reply = await agent.session(mode="only_in_cloud").respond("Why is the sea salty?")
        (left,) = agent.ledger.disclosures()
    assert reply.text == "Salt from rivers."
    assert reply.source is Destination.CLOUD
    assert reply.receipt is not None
    assert reply.receipt.node == left.node
    assert left.bytes_sent
    assert "Why is" not in recording.read_text()
    assert len(cloud.played) == 1


async def test_another_request_is_not_played_an_answer(tmp_path, recording) -> None:
    """A changed prompt is a test to look at, not an answer that no longer fits."""
    cloud = RecordedCloud.load(recording)
    async with FakeAgent(tmp_path / "test", ["device"], cloud=cloud) as agent:
        with pytest.raises(UsageError, match="not recorded"):
            await agent.session(mode="only_in_cloud").respond("Why is the sky blue?")


async def test_a_refusing_cloud_lets_the_device_answer(tmp_path, recording) -> None:
    """And the reply says so."""
    cloud = RecordedCloud.load(recording)
    cloud.error = CloudUnavailable("gone")
    async with FakeAgent(tmp_path / "test", ["device"], cloud=cloud) as agent:
        reply = await agent.session(mode="prefer_in_cloud").respond("Why is the sea salty?")
    assert (reply.source, reply.text) == (Destination.DEVICE, "device")
    assert (reply.decision.stage, reply.decision.reason) == (Stage.FALLBACK, Reason.CLOUD_FAILED)


def test_what_is_no_recording_is_a_typed_error(tmp_path) -> None:
    """No file, no JSON, another version."""
    for content in (None, "", "{}", '{"version": 2}'):
        path = tmp_path / "other.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UsageError, match="no recording"):
            RecordedCloud.load(path)


async def test_a_restored_talk_goes_on(tmp_path) -> None:
    """A test may begin in the middle of one."""
    said = [ChatMessage(role=r, text=t) for r, t in (("user", "a"), ("assistant", "b"))]
    async with FakeAgent(tmp_path, ["c"]) as agent:
        session = agent.session()
        session.restore(said)
        await session.respond("d")
        assert agent.prompts == ("user: a\nassistant: b\nuser: d\n",)
