"""From a client's request to a call of the agent: what was said, who answers, and how."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from device_agent.asking import Asking
from device_agent.options import Options
from device_agent.serving.problems import Problem, Unacceptable, unsupported
from device_agent.serving.wire import (
    AssistantMessage,
    ChatRequest,
    FunctionTool,
    JsonSchemaFormat,
    Message,
    NamedTool,
    Text,
    TextMessage,
    ToolMessage,
)
from inference.text import ChatMessage, Tool, ToolCall, ToolChoice
from lanai.content import Content
from router.vocabulary import DataClass, Mode

__all__ = ["MODELS", "Call", "call_of"]

MODELS: Final[dict[str, Mode | None]] = {
    "lanai": None,
    "lanai-device": Mode.ONLY_ON_DEVICE,
    "lanai-cloud": Mode.ONLY_IN_CLOUD,
}
"""What a client may name as its model, and the mode it stands for; ``None``: as configured."""

ANY_OBJECT: Final = {"type": "object"}

ROLES: Final = {"system": "system", "developer": "system", "user": "user"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request in the agent's words: what was said, and the keywords of ``session.stream``."""

    messages: tuple[ChatMessage, ...] = field(repr=False)
    into: dict[str, Any] | None = field(repr=False)
    asking: Asking = field(repr=False)


def call_of(request: ChatRequest) -> Call:
    """Raises ``UsageError``: a value out of range, or a wish that nothing here can honour."""
    messages = tuple(map(_message, request.messages))
    if messages[-1].role not in ("user", "tool"):
        raise unsupported("messages", "the last message must be the user's or a tool's")
    tools, choice = _tools(request)
    asking = Asking(
        options=_options(request),
        mode=_mode(request),
        data_class=DataClass(request.lanai.data_class),
        consent=request.lanai.consent,
        tools=tools,
        tool_choice=choice,
    )
    return Call(messages=messages, into=_form(request), asking=asking)


def _form(request: ChatRequest) -> dict[str, Any] | None:
    form = request.response_format
    if form is None or form.type == "text":
        return None
    if isinstance(form, JsonSchemaFormat):
        return form.json_schema.schema_
    return ANY_OBJECT if form.value is None else form.value


def _tools(request: ChatRequest) -> tuple[tuple[Tool, ...], ToolChoice]:
    """A tool chosen by name is the only one told. The client runs what is called."""
    tools, choice = tuple(map(_tool, request.tools or ())), request.tool_choice
    if tools and request.parallel_tool_calls is False:
        raise unsupported("parallel_tool_calls", "an answer may always hold several calls")
    if not tools and choice not in (None, "none", "auto"):
        raise unsupported("tool_choice", "there are no tools to choose from")
    if isinstance(choice, NamedTool):
        named = tuple(tool for tool in tools if tool.name == choice.function.name)
        if not named:
            raise unsupported("tool_choice", "names no tool of this request")
        return named, ToolChoice.REQUIRED
    return tools, ToolChoice(choice or "auto")


def _tool(tool: FunctionTool) -> Tool:
    told = tool.function
    return Tool(
        name=told.name,
        description=told.description or "",
        parameters=told.parameters or ANY_OBJECT | {"properties": {}},
    )


def _options(request: ChatRequest) -> Options:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return Options(
        max_tokens=_length(request),
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        top_k=request.lanai.top_k or 0,
        seed=request.seed,
        stop=tuple(map(Content, stop)),
    )


def _length(request: ChatRequest) -> int | None:
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise unsupported("max_tokens", "differs from max_completion_tokens")
    return old if new is None else new


def _mode(request: ChatRequest) -> Mode | None:
    if request.model not in MODELS:
        raise Unacceptable(
            Problem(
                status=404,
                type="invalid_request_error",
                code="model_not_found",
                message="no model of this name is served",
                param="model",
                hint="models: " + ", ".join(MODELS),
            )
        )
    named, asked = MODELS[request.model], request.lanai.mode
    if named is not None and asked is not None and named != asked:
        raise unsupported("lanai.mode", "the model's name asks for another mode")
    return named or (Mode(asked) if asked else None)


def _message(message: Message) -> ChatMessage:
    match message:
        case TextMessage():
            return ChatMessage(role=ROLES[message.role], text=_text(message.content))
        case ToolMessage():
            return ChatMessage(
                role="tool", text=_text(message.content), tool_call_id=message.tool_call_id
            )
        case AssistantMessage():
            calls = [
                ToolCall(id=c.id, name=c.function.name, arguments=_arguments(c.function.arguments))
                for c in message.tool_calls or ()
            ]
            return ChatMessage(
                role="assistant", text=_text(message.content or ""), tool_calls=tuple(calls)
            )


def _arguments(text: str) -> Content:
    """A call made before, as the model is told of it again: an object, in its own order."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise unsupported("messages", "the arguments of an earlier call are no JSON object")
    return Content(json.dumps(arguments, ensure_ascii=False))


def _text(content: Text) -> Content:
    """Parts are joined as they are: what is between them is the client's to say."""
    if isinstance(content, str):
        return Content(content)
    return Content("".join(part.text for part in content))
