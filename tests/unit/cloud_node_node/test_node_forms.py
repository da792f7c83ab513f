"""Forms and tools in a sealed request: held to by the worker, while the engine sees masks alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cloud_node.tree.request import read_request
from inference.guided import Choices, JsonSchema, Regex
from inference.text import ToolChoice
from lanai.errors import CloudRefused
from protos.lanai.v1alpha import envelope_pb2
from protos.lanai.v1alpha.envelope_pb2 import Message, RequestBody, Tool, ToolCall

Change = Callable[[RequestBody], object]


def body(change: Change = lambda body: None, **fields: Any) -> RequestBody:
    made = RequestBody(
        messages=[Message(role="user", text="hi")], max_tokens=9, top_p=1.0, **fields
    )
    change(made)
    return made


def test_forms_and_tools_are_read() -> None:
    """Each field of the wire becomes the value it stands for."""
    schema = {"type": "integer"}
    tool = Tool(name="clock", description="now", parameters='{"type": "object"}')
    asked = read_request(
        body(
            json_schema=json.dumps(schema), tools=[tool], tool_choice=envelope_pb2.REQUIRED
        ).SerializeToString()
    )
    assert asked.form == JsonSchema(schema=schema)
    assert [(t.name, t.description) for t in asked.tools] == [("clock", "now")]
    assert asked.tool_choice is ToolChoice.REQUIRED
    assert read_request(body(regex="a+").SerializeToString()).form == Regex(pattern="a+")
    choices = envelope_pb2.Choices(choice=["a", "b"])
    asked = read_request(body(choices=choices).SerializeToString())
    assert asked.form == Choices(options=("a", "b"))
    assert read_request(body().SerializeToString()).tool_choice is ToolChoice.AUTO


def test_a_conversation_with_calls_is_read() -> None:
    """Calls of an assistant and the results that answer them keep their ids."""
    call = ToolCall(id="c1", name="clock", arguments="{}")
    messages = [
        Message(role="user", text="time?"),
        Message(role="assistant", tool_calls=[call]),
        Message(role="tool", text="12:00", tool_call_id="c1"),
    ]
    asked = read_request(body(lambda b: b.messages.extend(messages)).SerializeToString())
    assert [message.role for message in asked.messages[1:]] == ["user", "assistant", "tool"]
    assert asked.messages[2].tool_calls[0].name == "clock"
    assert asked.messages[3].tool_call_id == "c1"


WRONG: dict[str, Change] = {
    "schema not json": lambda b: setattr(b, "json_schema", "{"),
    "schema no object": lambda b: setattr(b, "json_schema", "[]"),
    "schema too long": lambda b: setattr(b, "json_schema", '{"a": "' + "x" * (1 << 16) + '"}'),
    "schema too deep": lambda b: setattr(b, "json_schema", '{"a":' * 500 + "1" + "}" * 500),
    "schema with NaN": lambda b: setattr(b, "json_schema", '{"const": NaN}'),
    "empty regex": lambda b: setattr(b, "regex", ""),
    "long regex": lambda b: setattr(b, "regex", "a" * 5000),
    "no choice": lambda b: b.choices.SetInParent(),
    "many choices": lambda b: b.choices.choice.extend(["a"] * 600),
    "unknown choice of tools": lambda b: setattr(b, "tool_choice", 9),
    "tool without a name": lambda b: b.tools.add(parameters="{}"),
    "tool with a strange name": lambda b: b.tools.add(name="a b", parameters="{}"),
    "tool without parameters": lambda b: b.tools.add(name="a"),
    "too many tools": lambda b: [b.tools.add(name=f"t{n}", parameters="{}") for n in range(65)],
    "too much said of tools": lambda b: [
        b.tools.add(name=f"t{n}", parameters='{"a": "' + "x" * 60_000 + '"}') for n in range(5)
    ],
    "unknown role": lambda b: b.messages.add(role="developer"),
    "tool result for nothing": lambda b: b.messages.add(role="tool", text="x"),
    "result of a user": lambda b: b.messages.add(role="user", tool_call_id="c"),
    "calls of a user": lambda b: b.messages.add(
        role="user", tool_calls=[ToolCall(id="c", name="a", arguments="{}")]
    ),
    "call without an id": lambda b: b.messages.add(
        role="assistant", tool_calls=[ToolCall(name="a", arguments="{}")]
    ),
    "call of a strange name": lambda b: b.messages.add(
        role="assistant", tool_calls=[ToolCall(id="c", name="<a>", arguments="{}")]
    ),
    "arguments that are no object": lambda b: b.messages.add(
        role="assistant", tool_calls=[ToolCall(id="c", name="a", arguments="1")]
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_out_of_range_is_a_bad_request(name: str) -> None:
    """Refused by a code, before anything is compiled; nothing of it is in the error."""
    with pytest.raises(CloudRefused) as caught:
        read_request(body(WRONG[name]).SerializeToString())
    assert caught.value.refusal == "bad_request"
    assert caught.value.__cause__ is None


# The name conftest gives to its part, for types only.
Cell = Any


@pytest.fixture
def options() -> dict[str, Any]:
    """The tiny model has a token for each byte: what it is told of tools takes room."""
    return {"context_tokens": 2048}


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}


async def test_an_answer_is_of_its_form_whatever_the_model_says(cell: Cell) -> None:
    """The scripted model would say "Hello, world"; under masks it says JSON of the schema."""
    outcome = await cell.ask(cell.seal(json_schema=json.dumps(PERSON), max_tokens=60))
    value = json.loads(outcome.text)
    assert (outcome.last.final.finish_reason, set(value)) == ("stop", {"name", "ok"})


async def test_choices(cell: Cell) -> None:
    """One of them, whole."""
    choices = envelope_pb2.Choices(choice=["Goodbye", "Hello"])
    assert (await cell.ask(cell.seal(choices=choices))).text == "Hello"


async def test_a_required_call_comes_in_a_frame_of_its_own(cell: Cell) -> None:
    """No text; the call with its arguments, then the final record."""
    tool = Tool(name="greet", parameters=json.dumps({"properties": {"loud": {"type": "boolean"}},
                "required": ["loud"], "additionalProperties": False}))  # fmt: skip
    sealed = cell.seal(tools=[tool], tool_choice=envelope_pb2.REQUIRED, max_tokens=110)
    outcome = await cell.ask(sealed)
    calls = [frame.tool_call for frame in outcome.frames if frame.HasField("tool_call")]
    assert outcome.text == ""
    assert calls
    assert {call.name for call in calls} == {"greet"}
    assert isinstance(json.loads(calls[0].arguments)["loud"], bool)
    assert len(outcome.sizes) == 1


async def test_the_engine_is_told_of_tools_by_ids_alone(cell: Cell) -> None:
    """Definitions and results are in the prompt the worker renders; names reach it in no field."""
    messages = [
        Message(role="user", text="time?"),
        Message(role="assistant", tool_calls=[ToolCall(id="c1", name="clock", arguments="{}")]),
        Message(role="tool", text="12:00", tool_call_id="c1"),
    ]
    tool = Tool(name="clock", description="the time", parameters="{}")
    await cell.ask(cell.seal(messages=messages, tools=[tool], max_tokens=20))
    prompt = b"".join(cell.text.tokens.bytes_of(token) for token in cell.engine.prompts[0]).decode()
    assert '"description": "the time"' in prompt
    assert '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>' in prompt
    assert "<tool_response>\n12:00\n</tool_response>" in prompt


@pytest.mark.parametrize(
    "wrong",
    [
        {"regex": "("},
        {"json_schema": '{"uniqueItems": true}'},
        {"choices": envelope_pb2.Choices(choice=["a"]), "stop": ["b"]},
        {"tool_choice": envelope_pb2.REQUIRED},
        {"tools": [Tool(name="a", parameters='{"type": "string"}')]},
    ],
)
async def test_what_no_grammar_can_enforce_fails_by_its_code(
    cell: Cell, wrong: dict[str, Any]
) -> None:
    """Inside the seal, as `bad_request`; the engine was not asked."""
    outcome = await cell.ask(cell.seal(**wrong))
    assert outcome.last.failure == "bad_request"
    assert cell.engine.prompts == []
