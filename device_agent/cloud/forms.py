"""Forms, tools and calls in the words of the wire."""

import json
from typing import Final

from inference.guided import Choices, JsonSchema, OutputForm, Regex
from inference.text import ChatMessage, Tool, ToolCall, ToolChoice
from lanai.content import Content
from protos.lanai.v1alpha import envelope_pb2

__all__ = ["CHOICES", "call_from", "message_of", "set_form", "tool_of"]

CHOICES: Final = {
    ToolChoice.AUTO: envelope_pb2.AUTO,
    ToolChoice.NONE: envelope_pb2.NONE,
    ToolChoice.REQUIRED: envelope_pb2.REQUIRED,
}


def message_of(message: ChatMessage) -> envelope_pb2.Message:
    calls = (
        envelope_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
        for call in message.tool_calls
    )
    return envelope_pb2.Message(
        role=message.role,
        text=message.text,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )


def tool_of(tool: Tool) -> envelope_pb2.Tool:
    return envelope_pb2.Tool(
        name=tool.name,
        description=tool.description,
        parameters=json.dumps(tool.parameters, ensure_ascii=False),
    )


def set_form(body: envelope_pb2.RequestBody, form: OutputForm | None) -> None:
    match form:
        case JsonSchema():
            body.json_schema = json.dumps(form.schema, ensure_ascii=False)
        case Regex():
            body.regex = form.pattern
        case Choices():
            body.choices.choice.extend(form.options)
        case None:
            pass


def call_from(call: envelope_pb2.ToolCall) -> ToolCall:
    """As the node sent it: what may be called, and with what, is judged where it would run."""
    return ToolCall(id=call.id, name=call.name, arguments=Content(call.arguments))
