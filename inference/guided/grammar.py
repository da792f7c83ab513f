"""One grammar for an answer: its form, the calls it may hold, where it may end. llguidance's Lark.

    start: [space] (text | form | call call …) [end]

Calls are written as ``inference.text.tools`` shows; their markers are single tokens where the
model's own template made them so. JSON is written with one space after each colon and comma:
whitespace without end is how small models get lost.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.guided.forms import Choices, JsonSchema, OutputForm, Regex, check_schema
from inference.text.tools import CALL_END, CALL_START, RESULT_START, Tool, ToolChoice
from lanai.errors import UsageError

__all__ = ["MAX_CALLS", "MAX_TOOLS", "Manner", "check_tools", "grammar_of"]

MAX_TOOLS: Final = 64
MAX_CALLS: Final = 8
"""Parallel calls in one answer."""

_MARKERS: Final = (CALL_START, CALL_END)
# What a model with tools says as text: it neither invents results nor writes calls where none may
# be. Without tools, text is any text.
_TEXTS: Final = (
    rf"TEXT: /(.|\n)*/ & ~/(.|\n)*{RESULT_START}(.|\n)*/",
    rf"PLAIN: /(.|\n)*/ & ~/(.|\n)*({CALL_START}|{RESULT_START})(.|\n)*/",
)
# Wins over what a schema says in llguidance's own key.
_JSON_MANNER: Final = {
    "x-guidance": {
        "whitespace_flexible": False,
        "item_separator": ", ",
        "key_separator": ": ",
        "coerce_one_of": False,
        "lenient": False,
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a model writes: ``call_tokens``, the call's markers are tokens of their own;
    ``lead``, a space may come first; ``ends``, texts that may end an answer beside stop ids."""

    call_tokens: bool
    lead: bool
    ends: tuple[str, ...]


def grammar_of(
    form: OutputForm | None, tools: Sequence[Tool], choice: ToolChoice, manner: Manner
) -> str:
    """The grammar's text. Raises ``UsageError`` for schemas too large or not of an object."""
    callable_tools = () if choice is ToolChoice.NONE else tools
    free = "PLAIN" if tools and choice is ToolChoice.NONE else "TEXT"
    answers = [] if choice is ToolChoice.REQUIRED else [_answer(form, free)]
    rules: list[str] = []
    if callable_tools:
        answers += _calls(rules, callable_tools, manner, after_text=form is None and bool(answers))
    lead = ["/ ?/"] if manner.lead else []
    end = [f"({' | '.join(map(_literal, manner.ends))})?"] if manner.ends else []
    start = "start: " + " ".join([*lead, "body", *end])
    return "\n".join([start, "body: " + " | ".join(answers), *_TEXTS, *rules])


def _answer(form: OutputForm | None, free: str) -> str:
    match form:
        case None:
            return free
        case JsonSchema(schema=schema):
            return _json(schema)
        case Regex(pattern=pattern):
            return _regex(pattern)
        case Choices(options=options):
            return "(" + " | ".join(map(_literal, options)) + ")"


def _calls(
    rules: list[str], tools: Sequence[Tool], manner: Manner, *, after_text: bool
) -> list[str]:
    """Adds the rules of calls, and gives the alternatives that begin with one."""
    start, end = _MARKERS if manner.call_tokens else map(_literal, _MARKERS)
    close = _literal("}\n")
    for number, tool in enumerate(tools):
        head = _literal(f'\n{{"name": {json.dumps(tool.name)}, "arguments": ')
        rules.append(f"tool_{number}: {head} {_json(_arguments(tool))} {close}")
    rules.append("call: (" + " | ".join(f"tool_{n}" for n in range(len(tools))) + f") {end}")
    rules.append(f'more: "\\n" {start} call')
    calls = f"call more{{0,{MAX_CALLS - 1}}}"
    if not after_text:
        return [f"{start} {calls}"]
    if manner.call_tokens:
        return [f"TEXT {start} {calls}"]
    # Lazy: ends at the first marker, so that no text holds one.
    rules.append(f"opening[lazy]: TEXT {start}")
    return [f"opening {calls}"]


def _arguments(tool: Tool) -> dict[str, Any]:
    """A tool's parameters; an object, whatever they leave unsaid."""
    schema = {"type": "object"} | tool.parameters
    if schema["type"] != "object":
        raise UsageError(
            "a tool's parameters are not an object", hint='give a JSON Schema of type "object"'
        )
    return schema


def _json(schema: dict[str, Any]) -> str:
    check_schema(schema)
    return "%json " + json.dumps(schema | _JSON_MANNER)


def _regex(pattern: str) -> str:
    from llguidance import regex_to_lark

    return f"/{regex_to_lark(pattern, 'd')}/"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def check_tools(tools: Sequence[Tool], choice: ToolChoice) -> None:
    """Raises ``UsageError`` for too many tools, two of a name, or none where one is required."""
    if len(tools) > MAX_TOOLS:
        raise UsageError(f"more than {MAX_TOOLS} tools")
    if len({tool.name for tool in tools}) < len(tools):
        raise UsageError("two tools have the same name")
    if choice is ToolChoice.REQUIRED and not tools:
        raise UsageError("a call is required and there is no tool", hint="give `tools`")
