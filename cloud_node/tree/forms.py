"""What an opened body says of forms, tools and calls: parsed strictly, sizes before everything.

Raises ``CloudRefused`` (``bad_request``) for anything out of range; the grammar itself is judged
when it is compiled, in the worker, within bounds of its own.
"""

import json
from typing import Any

from inference.guided import Choices, JsonSchema, OutputForm, Regex
from inference.guided.grammar import MAX_TOOLS
from inference.text import ChatMessage, Tool, ToolCall, ToolChoice
from lanai.content import Content
from lanai.errors import CloudRefused, RefusalCode, UsageError
from protos.lanai.v1alpha import envelope_pb2

__all__ = ["bad_request", "read_choice", "read_form", "read_messages", "read_tools"]

MAX_MESSAGES = 1024
MAX_CALLS_OF_MESSAGE = 64
MAX_ID_CHARACTERS = 128
MAX_SCHEMA_CHARACTERS = 1 << 16
MAX_TOOLS_CHARACTERS = 1 << 18

CHOICES = {
    envelope_pb2.TOOL_CHOICE_UNSPECIFIED: ToolChoice.AUTO,
    envelope_pb2.AUTO: ToolChoice.AUTO,
    envelope_pb2.NONE: ToolChoice.NONE,
    envelope_pb2.REQUIRED: ToolChoice.REQUIRED,
}


def read_messages(body: envelope_pb2.RequestBody) -> tuple[ChatMessage, ...]:
    """1 to 1024 messages of known roles; calls, and ids of calls answered, where they belong."""
    if not 0 < len(body.messages) <= MAX_MESSAGES:
        raise bad_request()
    return tuple(map(_message, body.messages))


def read_form(body: envelope_pb2.RequestBody) -> OutputForm | None:
    """What the answer's text must be; ``None``: free text."""
    try:
        match body.WhichOneof("output"):
            case "json_schema":
                return JsonSchema(schema=_json_object(body.json_schema))
            case "regex":
                return Regex(pattern=body.regex)
            case "choices":
                return Choices(options=tuple(body.choices.choice))
            case _:
                return None
    except UsageError:
        raise bad_request() from None


def read_tools(body: envelope_pb2.RequestBody) -> tuple[Tool, ...]:
    """Up to 64 tools, 256 Ki characters in all."""
    length = sum(len(tool.description) + len(tool.parameters) for tool in body.tools)
    if len(body.tools) > MAX_TOOLS or length > MAX_TOOLS_CHARACTERS:
        raise bad_request()
    try:
        return tuple(
            Tool(
                name=tool.name,
                description=tool.description,
                parameters=_json_object(tool.parameters),
            )
            for tool in body.tools
        )
    except UsageError:
        raise bad_request() from None


def read_choice(body: envelope_pb2.RequestBody) -> ToolChoice:
    choice = CHOICES.get(body.tool_choice)
    if choice is None:
        raise bad_request()
    return choice


def bad_request() -> CloudRefused:
    return CloudRefused("the request's body is out of range", refusal=RefusalCode.BAD_REQUEST)


def _message(message: envelope_pb2.Message) -> ChatMessage:
    if len(message.tool_calls) > MAX_CALLS_OF_MESSAGE or _long(message.tool_call_id):
        raise bad_request()
    try:
        return ChatMessage(
            role=message.role,
            text=Content(message.text),
            tool_calls=tuple(map(_call, message.tool_calls)),
            tool_call_id=message.tool_call_id,
        )
    except UsageError:
        raise bad_request() from None


def _call(call: envelope_pb2.ToolCall) -> ToolCall:
    if not call.id or _long(call.id):
        raise bad_request()
    Tool(name=call.name)  # raises for what is no tool's name
    _json_object(call.arguments)
    return ToolCall(id=call.id, name=call.name, arguments=Content(call.arguments))


def _json_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise bad_request()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise bad_request() from None
    if not isinstance(value, dict):
        raise bad_request()
    return value


def _long(text: str) -> bool:
    return len(text) > MAX_ID_CHARACTERS
