"""Features with the shipped device model, greedy, from the settings as apps do."""

import pytest
from pydantic import BaseModel

from device_agent import AsyncAgent, features

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTE = (
    "The pump in the cellar of house 14 broke on Tuesday. Maria called the plumber, who can come "
    "on Friday at 9:30. The landlord pays for the repair, about 400 euros."
)


class Person(BaseModel):
    """Who writes."""

    name: str | None
    city: str | None


def set_alarm(time: str) -> None:
    """Set an alarm for a time."""


def weather(city: str) -> None:
    """Tell the weather in a city."""


async def test_spelling_is_put_right_and_nothing_else(agent: AsyncAgent) -> None:
    """Where a word is one slip from the one that fits; names and what is right stay."""
    text = "Yesterday I recieved a leter from my brohter Jorn.\n  He lives in Oslo."
    proof = await features.proofread(agent, text)
    assert proof.text == "Yesterday I received a letter from my brother Jorn.\n  He lives in Oslo."
    assert [(text[c.start : c.end], c.replacement) for c in proof.changes] == [
        ("recieved", "received"),
        ("leter", "letter"),
        ("brohter", "brother"),
    ]


async def test_what_is_meant_and_what_is_not(agent: AsyncAgent) -> None:
    """An action with its argument; none for a question no action answers."""
    rain = await features.suggest_action(agent, "is it raining in Oslo", [set_alarm, weather])
    life = await features.suggest_action(agent, "why are we here", [set_alarm, weather])
    assert (rain.action, rain.arguments) == ("weather", {"city": "Oslo"})
    assert not life


async def test_a_friend_stands_before_a_shop(agent: AsyncAgent) -> None:
    """Each with its reason."""
    given = ["50% off all shoes this weekend only!", "Can you send me the slides before noon?"]
    found = await features.prioritize(agent, given)
    assert [(each.index, each.reason.value) for each in found.ranked] == [
        (1, "asks"),
        (0, "promotion"),
    ]


async def test_summaries_and_values_keep_to_the_text(agent: AsyncAgent) -> None:
    """Bullets are lines, values are spans."""
    summary = await features.summarize(agent, NOTE, length="bullets")
    person = await features.extract(agent, "I am Grace Miller, in Bergen most days.", into=Person)
    assert 1 <= len(summary.bullets) <= 5
    assert person.value.city in (None, "Bergen")
    assert (person.value.name or "") in "I am Grace Miller, in Bergen most days."
