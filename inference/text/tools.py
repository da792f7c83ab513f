"""Tools as a model is told of them, and the calls it makes.

A model whose chat template knows tools is told by its template. Any other is told in a plain form,
the one most templates use: definitions in the system message, one JSON object a line; calls and
results between markers.

    <tool_call>
    {"name": "weather", "arguments": {"city": "Oslo"}}
    </tool_call>

    <tool_response>
    {"celsius": 4}
    </tool_response>
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Any, Final

from inference.text.messages import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import UsageError

__all__ = [
    "CALL_END",
    "CALL_START",
    "RESULT_START",
    "Tool",
    "ToolChoice",
    "spell_call",
    "told_plainly",
]

CALL_START: Final = "<tool_call>"
CALL_END: Final = "</tool_call>"
RESULT_START: Final = "<tool_response>"
RESULT_END: Final = "</tool_response>"
MAX_NAME: Final = 64
MAX_DESCRIPTION: Final = 4096

_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_-]{{0,{MAX_NAME - 1}}}")
_INTRODUCTION = "You can call these tools, one JSON description a line:\n"
_MANNER = (
    f'\nTo call a tool, answer with\n{CALL_START}\n{{"name": NAME, "arguments": {{...}}}}\n'
    f"{CALL_END}\nand nothing after it. Its result then comes in {RESULT_START}. "
    "Answer with plain text when no tool is needed."
)


class ToolChoice(StrEnum):
    """Whether the answer may or must be a call."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


def _no_parameters() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What a model is told of one tool. ``parameters``: JSON Schema of an object, its arguments;
    left out, it takes none: a small model would fill a free object until it is cut off.

    Raises ``UsageError`` for a name that is not 1 to 64 of ``A-Za-z0-9_-`` beginning with a letter
    or ``_``, or a description of more than 4,096 characters.
    """

    name: str
    description: str = field(default="", repr=False)
    parameters: dict[str, Any] = field(default_factory=_no_parameters, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                "a tool's name is not acceptable",
                hint=f"1 to {MAX_NAME} letters, digits, `_` or `-`, beginning with a letter or `_`",
            )
        if len(self.description) > MAX_DESCRIPTION:
            raise UsageError(f"a tool's description is over {MAX_DESCRIPTION} characters")
        if not isinstance(self.parameters, dict):
            raise UsageError("a tool's parameters are not a JSON Schema object")

    def definition(self) -> dict[str, Any]:
        """The form chat templates expect."""
        function = {"name": self.name, "description": self.description}
        return {"type": "function", "function": function | {"parameters": self.parameters}}


def spell_call(call: ToolCall) -> str:
    """The call between its markers, as a model writes it."""
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{CALL_START}\n{{"name": {name}, "arguments": {call.arguments}}}\n{CALL_END}'


def told_plainly(messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> list[ChatMessage]:
    """The conversation in system, user and assistant messages of plain text only.

    Results of parallel calls become one user message: many templates want turns to alternate.
    """
    told: list[ChatMessage] = []
    for is_result, run in groupby(messages, key=lambda message: message.role == "tool"):
        same = list(run)
        told += [_results(same)] if is_result else map(_calls_spelled, same)
    return _with_definitions(told, tools) if tools else told


def _results(messages: Iterable[ChatMessage]) -> ChatMessage:
    blocks = [f"{RESULT_START}\n{message.text}\n{RESULT_END}" for message in messages]
    return ChatMessage(role="user", text=Content("\n".join(blocks)))


def _calls_spelled(message: ChatMessage) -> ChatMessage:
    if not message.tool_calls:
        return message
    pieces = [*([message.text] if message.text else []), *map(spell_call, message.tool_calls)]
    return ChatMessage(role="assistant", text=Content("\n".join(pieces)))


def _with_definitions(messages: list[ChatMessage], tools: Sequence[Tool]) -> list[ChatMessage]:
    lines = [json.dumps(tool.definition()["function"], ensure_ascii=False) for tool in tools]
    text = _INTRODUCTION + "\n".join(lines) + _MANNER
    if messages and messages[0].role == "system":
        first, *rest = messages
        return [ChatMessage(role="system", text=Content(f"{first.text}\n\n{text}")), *rest]
    return [ChatMessage(role="system", text=Content(text)), *messages]
