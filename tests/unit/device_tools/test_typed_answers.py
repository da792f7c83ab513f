"""Answers into types: enforced on the device, asked for in the cloud, validated on both."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from device_agent import Choices, Destination, JsonSchema, Mode, Options, Regex
from device_agent.structured import schema_of, target_of, whole_parts
from lanai.content import Content
from lanai.errors import CloudUnavailable, UsageError, ValidationFailed

MakeStage = Callable[..., Any]
FakeCloud = Callable[..., Any]


class Place(BaseModel):
    town: str
    beds: int


class Trip(BaseModel):
    city: str
    days: Annotated[int, Field(ge=1, le=30)]
    places: list[Place] = []
    kind: Literal["work", "fun"] | None = None


TRIP = '{"city": "Oslo", "days": 3, "places": [{"town": "Bygdøy", "beds": 2}], "kind": "fun"}'


async def test_a_model_comes_back_as_its_type(stage: MakeStage) -> None:
    """`into` a Pydantic model gives a validated object of it, and the text it was read from."""
    async with stage(TRIP).agent as agent:
        reply = await agent.session().respond("plan", into=Trip)
    assert isinstance(reply.value, Trip)
    assert (reply.value.places[0].town, reply.text) == ("Bygdøy", TRIP)


@pytest.mark.parametrize("prose", ["Sure! Here is your trip: 3 days in Oslo.", "[]", "{}}}", ""])
async def test_a_model_that_would_rather_chat_is_held_to_the_form(
    stage: MakeStage, prose: str
) -> None:
    """Whatever the device model prefers, the answer is of the form: the engine gets its masks."""
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "grade": {"enum": ["a", "b"]}},
        "required": ["ok", "grade"],
        "additionalProperties": False,
    }
    async with stage(prose).agent as agent:
        reply = await agent.session().respond("grade it", into=schema)
    assert reply.value["grade"] in ("a", "b")
    assert isinstance(reply.value["ok"], bool)


@pytest.mark.parametrize(
    ("into", "said", "value"),
    [
        (Choices(options=("warm", "cold")), "cold", "cold"),
        (Regex(pattern=r"\d{2}:\d{2}"), "12:30", "12:30"),
        (JsonSchema(schema={"type": "integer"}), "42", 42),
        (list[int], "[1, 2]", [1, 2]),
        (TypeAdapter(Literal["x", "y"]), '"y"', "y"),
        (set[str], '["a", "a"]', {"a"}),
    ],
)
async def test_other_forms(stage: MakeStage, into: Any, said: str, value: Any) -> None:
    """Choices and patterns give text, schemas JSON values, types values of their own."""
    async with stage(said).agent as agent:
        reply = await agent.session().respond("say", into=into)
    assert reply.value == value


async def test_without_a_form_the_value_is_the_text(stage: MakeStage) -> None:
    """`reply.value` is there for every reply."""
    async with stage("hello").agent as agent:
        reply = await agent.session().respond("say")
    assert reply.value == reply.text == "hello"


async def test_an_answer_cut_off_is_an_error(stage: MakeStage) -> None:
    """Out of tokens inside the form there is no value; the error says so, and nothing was said."""
    async with stage(TRIP).agent as agent:
        session = agent.session()
        with pytest.raises(ValidationFailed) as caught:
            await session.respond("plan", into=Trip, options=Options(max_tokens=20))
        assert caught.value.cut_off
        assert session.transcript == ()


async def test_parts_of_the_value_stream(stage: MakeStage) -> None:
    """Partial values grow by whole parts only, typed as their fields are; the last is all of it."""
    async with stage(TRIP).agent as agent, agent.session().stream("plan", into=Trip) as stream:
        parts = [event.partial async for event in stream if event.partial is not None]
    assert parts[0] == {}
    assert {"city": "Oslo"} in parts
    assert {"city": "Oslo", "days": 3, "places": [Place(town="Bygdøy", beds=2)]} in parts
    assert not any(part.get("days") not in (None, 3) for part in parts)
    assert parts[-1] == dict(stream.final.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": "x 12', {}),
        ('{"a": tru', {}),
        ('[1, {"b": "c"', [1, {"b": "c"}]),
        ("", None),
        ("-", None),
    ],
)
def test_what_may_still_change_is_no_part(text: str, parts: Any) -> None:
    """A number, a word or a string that may go on is left out."""
    assert whole_parts(text) == parts


async def test_the_cloud_is_asked_for_the_same_form(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """In the cloud the form travels with the request, and the value is validated on this side."""
    cloud = fake_cloud([[Content(TRIP[:20]), Content(TRIP[20:])]])
    async with stage(cloud=cloud).agent as agent:
        reply = await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("plan", into=Trip)
    assert (reply.source, reply.value.days) == (Destination.CLOUD, 3)
    assert cloud.asked[0].form == JsonSchema(schema=schema_of(Trip))


@pytest.mark.parametrize(
    ("into", "said"),
    [(Trip, '{"city": 3}'), (Choices(options=("a", "b")), "c"), (Regex(pattern="a+"), "ab")],
)
async def test_a_cloud_that_sends_another_form_is_not_believed(
    stage: MakeStage, fake_cloud: FakeCloud, into: Any, said: str
) -> None:
    """What is not of the form is an error, wherever it comes from."""
    cloud = fake_cloud([[Content(said)]])
    async with stage(cloud=cloud).agent as agent:
        with pytest.raises(ValidationFailed) as caught:
            await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("plan", into=into)
    assert not caught.value.cut_off
    assert said not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"


async def test_the_device_answers_in_the_same_form_when_the_cloud_fails(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """A cloud that breaks before the first text leaves the form to the device."""
    cloud = fake_cloud([[]], breaks=CloudUnavailable("gone"))
    async with stage(TRIP, cloud=cloud).agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("plan", into=Trip)
    assert (reply.source, reply.value.city) == (Destination.DEVICE, "Oslo")


@pytest.mark.parametrize(
    ("into", "options"),
    [
        ({"type": "nonsense"}, Options()),
        (Regex(pattern="("), Options()),
        (bytes, Options()),
        (object(), Options()),
        (Trip, Options(stop=(Content("}"),))),
    ],
)
async def test_a_form_that_cannot_be_is_refused_before_all(
    stage: MakeStage, fake_cloud: FakeCloud, into: Any, options: Options
) -> None:
    """A wrong form is an error of the call: no model is loaded and no cloud is asked."""
    cloud = fake_cloud([[]])
    made = stage(cloud=cloud)
    async with made.agent as agent:
        with pytest.raises(UsageError):
            agent.session().stream("x", into=into, options=options)
    assert (made.loader.started, cloud.asked) == (0, [])


def test_schemas_leave_no_room_for_other_names() -> None:
    """A type's schema is closed at every level, but a property may have any name."""

    class Odd(BaseModel):
        properties: Place
        rest: dict[str, Place]

    schema = schema_of(Odd)
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"properties", "rest"}
    assert schema["$defs"]["Place"]["additionalProperties"] is False
    assert target_of(Odd).form == JsonSchema(schema=schema)
