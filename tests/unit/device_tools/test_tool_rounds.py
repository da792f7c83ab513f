"""Tools: run on this device, between requests that are each routed, sealed and paid for anew."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from device_agent import (
    ChatMessage,
    DataClass,
    Destination,
    FunctionTool,
    Mode,
    Options,
    Tool,
    ToolCall,
    ToolFailed,
)
from inference.text import ToolChoice
from lanai.content import Content
from lanai.errors import CloudUnavailable, NoRoute, UsageError, ValidationFailed

MakeStage = Callable[..., Any]
FakeCloud = Callable[..., Any]


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=Content(arguments))


def spelled(name: str, arguments: str = "{}") -> str:
    """As the model writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


class Forecast(BaseModel):
    city: str
    celsius: int


def weather(city: Annotated[str, Field(description="a town")], days: int = 1) -> Forecast:
    """Weather of a city
    for some days.

    Not told to the model.
    """
    return Forecast(city=city, celsius=days)


OSLO = spelled("weather", '{"city": "Oslo"}')


async def test_a_call_is_run_and_its_result_answered(stage: MakeStage) -> None:
    """A call ends the request; its result opens the next, and the reply shows what was run."""
    made = stage(OSLO, "It is 1 degree.")
    async with made.agent as agent:
        session = agent.session(instructions="Be brief.")
        reply = await session.respond("How is Oslo?", tools=[weather])
        roles = [message.role for message in session.transcript]
    assert (reply.text, reply.value, reply.tool_calls) == ("It is 1 degree.",) * 2 + ((),)
    [run] = reply.tool_runs
    assert (run.call.name, str(run.result), run.failed) == (
        "weather", '{"city":"Oslo","celsius":1}', None,
    )  # fmt: skip
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert '<tool_response>\n{"city":"Oslo","celsius":1}\n</tool_response>' in made.prompt()
    assert run.trace_id != reply.trace_id
    assert reply.usage.input_tokens == sum(map(len, made.engine.prompts))


async def test_the_signature_is_what_the_model_is_told(stage: MakeStage) -> None:
    """Name, first paragraph of the docstring and the arguments' schema, with its descriptions."""
    made = stage("No need.")
    async with made.agent as agent:
        await agent.session().respond("How is Oslo?", tools=[weather])
    told = json.loads(next(line for line in made.prompt().splitlines() if '"weather"' in line))
    assert told["description"] == "Weather of a city for some days."
    assert told["parameters"]["required"] == ["city"]
    assert told["parameters"]["properties"]["city"]["description"] == "a town"
    assert told["parameters"]["additionalProperties"] is False


async def test_half_a_call_is_never_shown(stage: MakeStage) -> None:
    """A stream shows the text before a call, the call once it was run, and the answer."""
    made = stage("One moment. " + OSLO, "Cold.")
    async with made.agent as agent, agent.session().stream("?", tools=[weather]) as stream:
        events = [event async for event in stream]
    assert "".join(event.text for event in events) == "One moment. Cold."
    assert [event.tool_run.call.name for event in events if event.tool_run] == ["weather"]


async def test_parallel_calls_run_side_by_side(stage: MakeStage) -> None:
    """Calls of one answer run at once, plain functions in threads; results keep their order."""
    meeting = threading.Barrier(2, timeout=20)
    met = asyncio.Event()

    def first() -> str:
        meeting.wait()
        return "first"

    async def second() -> str:
        await asyncio.to_thread(meeting.wait)
        met.set()
        return "second"

    said = spelled("first") + "\n" + spelled("second")
    async with stage(said, "Done.").agent as agent:
        reply = await agent.session().respond("go", tools=[first, second])
    assert met.is_set()
    assert [str(run.result) for run in reply.tool_runs] == ["first", "second"]


async def test_no_more_than_four_run_at_once(stage: MakeStage) -> None:
    """A model may ask for eight calls; the app's resources are not taken all at once."""
    running = most = 0

    async def slow(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        return n

    said = "\n".join(spelled("slow", f'{{"n": {n}}}') for n in range(8))
    options = Options(max_tokens=1000)
    async with stage(said, "Done.").agent as agent:
        reply = await agent.session().respond("go", tools=[slow], options=options)
    assert (len(reply.tool_runs), most) == (8, 4)


def broken() -> None:
    raise OSError("a path of the user")


def picky() -> None:
    raise ToolFailed("say please")


@pytest.mark.parametrize(
    ("tool", "why", "told"),
    [(broken, "OSError", "the tool failed"), (picky, "ToolFailed", "say please")],
)
async def test_a_failure_is_told_to_the_model(
    stage: MakeStage, tool: Any, why: str, told: str
) -> None:
    """The model gets a result that says so; the tool's own words only if it raised ToolFailed."""
    made = stage(spelled(tool.__name__), "Sorry.")
    async with made.agent as agent:
        reply = await agent.session().respond("go", tools=[tool])
    assert (reply.tool_runs[0].failed, reply.text) == (why, "Sorry.")
    assert f'{{"error": "{told}"}}' in made.prompt()
    assert "path of the user" not in made.prompt()


async def test_a_failure_can_end_the_request(stage: MakeStage) -> None:
    """With `tool_errors="raise"` the app gets it, from what it was raised from."""
    async with stage(spelled("broken")).agent as agent:
        session = agent.session()
        with pytest.raises(ToolFailed) as caught:
            await session.respond("go", tools=[broken], tool_errors="raise")
        assert (caught.value.name, type(caught.value.__cause__)) == ("broken", OSError)
        assert session.transcript == ()


async def test_arguments_are_validated_before_the_function_sees_them(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """What a node sends as arguments is checked here: the model is told what is wrong."""
    cloud = fake_cloud([[call("weather", '{"city": 3, "x": 1}')], [Content("Sorry.")]])
    async with stage(cloud=cloud).agent as agent:
        session = agent.session(mode=Mode.ONLY_IN_CLOUD)
        reply = await session.respond("How is Oslo?", tools=[weather])
    [run] = reply.tool_runs
    assert run.failed == "arguments"
    assert "city: Input should be a valid string" in json.loads(run.result)["error"]


async def test_a_tool_that_takes_too_long_has_failed(stage: MakeStage) -> None:
    """Its time is bounded; the conversation goes on."""

    async def endless() -> None:
        await asyncio.Event().wait()

    tool = FunctionTool.of(endless, timeout_s=0.01)
    async with stage(spelled("endless"), "Never mind.").agent as agent:
        reply = await agent.session().respond("go", tools=[tool])
    assert reply.tool_runs[0].failed == "timeout"


async def test_each_round_is_a_request_of_its_own(stage: MakeStage, fake_cloud: FakeCloud) -> None:
    """In the cloud a call ends the request; the results leave in another, and no code does."""
    cloud = fake_cloud([[call("weather", '{"city": "Oslo"}')], [Content("Cold.")]])
    async with stage(cloud=cloud).agent as agent:
        session = agent.session(mode=Mode.ONLY_IN_CLOUD)
        reply = await session.respond("How is Oslo?", tools=[weather])
        disclosures = agent.ledger.disclosures()
    assert (reply.text, reply.source) == ("Cold.", Destination.CLOUD)
    first, second = cloud.asked
    assert [tool.name for tool in first.tools] == ["weather"]
    assert [message.role for message in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1].tool_calls[0].id == second.messages[2].tool_call_id == "call_1"
    assert len(disclosures) == 2


def diary(day: int) -> str:
    """What the user wrote that day."""
    return "a secret"


DIARY = FunctionTool.of(diary, device_only=True)


async def test_a_device_only_tool_is_never_named_in_the_cloud(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """The cloud is told of the other tools; the device model of all."""
    cloud = fake_cloud([[Content("Fine.")]])
    made = stage("Fine.", cloud=cloud)
    async with made.agent as agent:
        await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("?", tools=[weather, DIARY])
        await agent.session(mode=Mode.ONLY_ON_DEVICE).respond("?", tools=[weather, DIARY])
    assert [tool.name for tool in cloud.asked[0].tools] == ["weather"]
    assert "diary" in made.prompt()


async def test_a_device_only_tool_cannot_be_called_from_the_cloud(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """A node that guesses its name gets no such tool, and the function does not run."""
    ran = []
    tool = FunctionTool.of(lambda: ran.append(1), name="diary", device_only=True)
    cloud = fake_cloud([[call("diary")], [Content("Oh.")]])
    async with stage("No.", cloud=cloud).agent as agent:
        session = agent.session(mode=Mode.PREFER_IN_CLOUD)
        reply = await session.respond("?", tools=[weather, tool])
    assert (reply.tool_runs[0].failed, ran) == ("unknown_tool", [])
    assert (reply.source, reply.text) == (Destination.CLOUD, "Oh.")


@pytest.mark.parametrize("kind", ["device_only", "secret"])
async def test_secret_results_keep_the_session_on_the_device(
    stage: MakeStage, fake_cloud: FakeCloud, kind: str
) -> None:
    """Once such a result is in the transcript, neither the answer nor later turns may leave."""
    tool = DIARY if kind == "device_only" else FunctionTool.of(diary, data_class="secret")
    cloud = fake_cloud([[Content("from the cloud")]])
    made = stage(spelled("diary", '{"day": 1}'), "You were well.", "Yes.", cloud=cloud)
    async with made.agent as agent:
        session = agent.session(mode=Mode.ONLY_ON_DEVICE)
        await session.respond("How was I?", tools=[tool])
        later = await session.respond("Really?", mode=Mode.PREFER_IN_CLOUD)
    assert (later.source, later.decision.reason.value) == (Destination.DEVICE, "data_secret")
    assert cloud.asked == []


async def test_a_secret_result_brings_the_answer_home(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """The cloud asks for it, the tool runs here, and the request that holds its result stays."""
    tool = FunctionTool.of(diary, data_class=DataClass.SECRET)
    cloud = fake_cloud([[call("diary", '{"day": 1}')]])
    async with stage("You were well.", cloud=cloud).agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("How was I?", tools=[tool])
    assert (len(cloud.asked), reply.source) == (1, Destination.DEVICE)
    assert reply.tool_runs[0].data_class is DataClass.SECRET


async def test_a_required_device_only_call_stays_here(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """No cloud could make the call, so none is asked."""
    cloud = fake_cloud([[Content("no")]])
    async with stage(spelled("diary", '{"day": 1}'), "Well.", cloud=cloud).agent as agent:
        session = agent.session(mode=Mode.PREFER_IN_CLOUD)
        reply = await session.respond("?", tools=[DIARY], tool_choice="diary")
    assert (reply.text, len(reply.tool_runs), cloud.asked) == ("Well.", 1, [])


async def test_a_named_tool_must_be_called(stage: MakeStage) -> None:
    """Named, it is the only one told, and the device model cannot do without it."""
    made = stage("I would rather chat.", "Done.")
    async with made.agent as agent:
        reply = await agent.session().respond("?", tools=[weather, picky], tool_choice="picky")
    assert [run.call.name for run in reply.tool_runs] == ["picky"]
    assert '"weather"' not in made.prompt(0)


async def test_the_last_round_must_answer(stage: MakeStage, fake_cloud: FakeCloud) -> None:
    """After `max_tool_rounds` rounds of calls the model may not call again."""
    cloud = fake_cloud([[call("weather", '{"city": "Oslo"}')], [Content("Enough.")]])
    async with stage(cloud=cloud).agent as agent:
        session = agent.session(mode=Mode.ONLY_IN_CLOUD)
        await session.respond("?", tools=[weather], max_tool_rounds=1)
    assert [ask.tool_choice for ask in cloud.asked] == [ToolChoice.AUTO, ToolChoice.NONE]


async def test_calls_without_a_function_are_the_apps_to_run(stage: MakeStage) -> None:
    """A bare `Tool`'s calls come with the reply; the app restores the results and goes on."""
    tool = Tool(name="weather", parameters={"type": "object"})
    made = stage(spelled("weather", '{"city": "Oslo"}'), "Cold.")
    async with made.agent as agent:
        session = agent.session()
        reply = await session.respond("How is Oslo?", tools=[tool])
        [asked] = reply.tool_calls
        result = ChatMessage(role="tool", text=Content("1 °C"), tool_call_id=asked.id)
        session.restore([*session.transcript, result])
        answer = await session.respond(None, tools=[tool])
    assert (json.loads(asked.arguments), reply.tool_runs) == ({"city": "Oslo"}, ())
    assert (answer.text, "1 °C" in made.prompt()) == ("Cold.", True)


async def test_a_call_cut_off_is_an_error(stage: MakeStage) -> None:
    """Out of tokens inside a call there is neither text nor call."""
    async with stage(OSLO).agent as agent:
        with pytest.raises(ValidationFailed) as caught:
            await agent.session().respond("?", tools=[weather], options=Options(max_tokens=30))
    assert caught.value.cut_off


async def test_calls_of_an_answer_that_broke_off_do_not_run(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """The cloud breaks after a call: what the device then answers is all that counts."""
    cloud = fake_cloud([[call("picky")]], breaks=CloudUnavailable("gone"))
    async with stage("Here.", cloud=cloud).agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("?", tools=[picky])
    assert (reply.text, reply.tool_runs, reply.source) == ("Here.", (), Destination.DEVICE)


async def test_a_form_and_tools_together(stage: MakeStage) -> None:
    """The model calls first; the answer that follows is of the form."""
    said = '{"city": "Oslo", "celsius": 1}'
    async with stage(OSLO, said).agent as agent:
        reply = await agent.session().respond("?", into=Forecast, tools=[weather])
    assert (reply.value, len(reply.tool_runs)) == (Forecast(city="Oslo", celsius=1), 1)


def variable(*things: int) -> None: ...


def keywords(**things: int) -> None: ...


def unknown(thing: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    ...


@pytest.mark.parametrize("function", [variable, keywords, unknown, lambda x: x, 3])
async def test_functions_that_no_schema_describes_are_refused(
    stage: MakeStage, function: Any
) -> None:
    """Variable arguments, unknown types, nameless functions."""
    async with stage().agent as agent:
        with pytest.raises(UsageError):
            agent.session().stream("?", tools=[function])


@pytest.mark.parametrize(
    "asking",
    [
        {"tool_choice": "nobody"},
        {"tool_choice": "required", "tools": []},
        {"max_tool_rounds": 0},
        {"tool_errors": "ignore"},
        {"tools": [weather, weather]},
    ],
)
async def test_asking_for_what_cannot_be(stage: MakeStage, asking: dict[str, Any]) -> None:
    """Choices, bounds and names that make no sense are errors of the call."""
    async with stage().agent as agent:
        with pytest.raises(UsageError):
            agent.session().stream("?", **({"tools": [weather]} | asking))


async def test_unknown_keywords_are_errors(stage: MakeStage) -> None:
    """Nothing is ignored."""
    async with stage().agent as agent:
        with pytest.raises(TypeError):
            agent.session().stream("?", tolls=[weather])


async def test_a_secret_result_leaves_a_cloud_only_session_without_a_route(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """The mode allows no device and the class no cloud: that is said, and nothing is sent."""
    tool = FunctionTool.of(diary, data_class=DataClass.SECRET)
    cloud = fake_cloud([[call("diary", '{"day": 1}')]])
    async with stage(cloud=cloud).agent as agent:
        with pytest.raises(NoRoute):
            await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("How was I?", tools=[tool])
    assert len(cloud.asked) == 1
