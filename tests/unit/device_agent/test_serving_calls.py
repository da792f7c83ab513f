"""From a client's request to the agent's words: forms, tools and what was said."""

import json
from typing import Any

import pytest

from device_agent.serving.conversation import Call, call_of
from device_agent.serving.wire import read_request
from inference.text import Tool, ToolChoice
from lanai.errors import UsageError

HELLO = {"role": "user", "content": "hello"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "of a city", "parameters": SCHEMA, "strict": True}
TOOLS = [
    {"type": "function", "function": WEATHER},
    {"type": "function", "function": {"name": "time"}},
]


def call(**fields: Any) -> Call:
    body = {"model": "lanai", "messages": [HELLO]} | fields
    return call_of(read_request(json.dumps(body).encode()))


def test_formats_become_forms() -> None:
    """A schema is taken as it is; `json_object` is any object; `text` asks for nothing."""
    named = {"name": "place", "schema": SCHEMA, "strict": True}
    assert call(response_format={"type": "json_schema", "json_schema": named}).into == SCHEMA
    assert call(response_format={"type": "json_object"}).into == {"type": "object"}
    assert call(response_format={"type": "text"}).into is None
    assert call().into is None


def test_tools_are_told_and_run_by_the_client() -> None:
    """A tool without parameters takes an empty object."""
    asking = call(tools=TOOLS).asking
    weather, clock = asking["tools"]
    assert weather == Tool(name="weather", description="of a city", parameters=SCHEMA)
    assert clock.parameters == {"type": "object", "properties": {}}
    assert asking["tool_choice"] is ToolChoice.AUTO


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        ("none", ["weather", "time"], ToolChoice.NONE),
        ("required", ["weather", "time"], ToolChoice.REQUIRED),
        ({"type": "function", "function": {"name": "time"}}, ["time"], ToolChoice.REQUIRED),
    ],
)
def test_a_choice_of_tools(choice, names, expected) -> None:
    """A tool chosen by name is the only one told."""
    asking = call(tools=TOOLS, tool_choice=choice).asking
    assert [tool.name for tool in asking["tools"]] == names
    assert asking["tool_choice"] is expected


def test_calls_and_results_come_back() -> None:
    """As the messages a client sends after it ran what was called."""
    function = {"name": "weather", "arguments": '{"city":"Oslo"}'}
    made = {"id": "c1", "type": "function", "function": function}
    messages = [
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    _, asked, answered = call(messages=messages, tools=TOOLS).messages
    assert (asked.tool_calls[0].name, asked.tool_calls[0].id) == ("weather", "c1")
    assert json.loads(asked.tool_calls[0].arguments) == {"city": "Oslo"}
    assert (answered.tool_call_id, answered.text) == ("c1", "rain")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": TOOLS, "parallel_tool_calls": False},
        {"tool_choice": "required"},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"tools": [{"type": "function", "function": {"name": "two words"}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"response_format": {"type": "grammar"}},
        {"messages": [HELLO, {"role": "assistant", "content": "x"}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[]"}}],
                },
                HELLO,
            ]
        },
    ],
)
def test_what_cannot_be_honoured_is_an_error(fields) -> None:
    """Before anything runs."""
    with pytest.raises(UsageError):
        call(**fields)
