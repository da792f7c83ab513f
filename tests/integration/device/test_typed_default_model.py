"""Typed answers and tools with the shipped device model, greedy, from the settings as apps do."""

import pytest
from pydantic import BaseModel

from device_agent import AsyncAgent, Choices, Options, Regex

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Person(BaseModel):
    name: str
    age: int
    city: str


async def test_an_extract_into_a_model(agent: AsyncAgent) -> None:
    """A sentence becomes a typed object; what it says of place is right."""
    text = "Extract the person: Ada Lovelace is 36 and lives in London."
    reply = await agent.session().respond(text, into=Person)
    assert (reply.value.name, reply.value.city) == ("Ada Lovelace", "London")


async def test_choices_and_a_pattern(agent: AsyncAgent) -> None:
    """One word of a list, four digits: nothing around them."""
    review = "Is this review positive or negative? 'I loved every minute.'"
    feeling = await agent.session().respond(review, into=Choices(options=("positive", "negative")))
    year = await agent.session().respond(
        "Which year did World War II end?", into=Regex(pattern=r"\d{4}")
    )
    assert (feeling.value, year.value) == ("positive", "1945")


def weather(city: str) -> str:
    """Current weather in a city."""
    return f"It is 4 degrees and raining in {city}."


async def test_a_tool_round_trip(agent: AsyncAgent) -> None:
    """The model calls with the city it was asked for, and answers from the result."""
    reply = await agent.session().respond(
        "What is the weather in Oslo?",
        tools=[weather],
        tool_choice="weather",
        options=Options(max_tokens=80),
    )
    [run] = reply.tool_runs
    assert (str(run.call.arguments), run.failed) == ('{"city": "Oslo"}', None)
    assert "raining" in reply.text
