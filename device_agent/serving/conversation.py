"""From a client's request to a call of the agent: who answers, after which messages, and how."""

from dataclasses import dataclass
from typing import Final

from device_agent.options import Options
from device_agent.serving.problems import Problem, Unacceptable, unsupported
from device_agent.serving.wire import AssistantMessage, ChatRequest, TextMessage
from inference.text import ChatMessage
from lanai.content import Content
from router.vocabulary import DataClass, Mode

__all__ = ["MODELS", "Call", "call_of"]

MODELS: Final[dict[str, Mode | None]] = {
    "lanai": None,
    "lanai-device": Mode.ONLY_ON_DEVICE,
    "lanai-cloud": Mode.ONLY_IN_CLOUD,
}
"""What a client may name as its model, and the mode it stands for; ``None``: as configured."""

ROLES: Final = {"system": "system", "developer": "system", "user": "user"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request in the agent's words. ``history`` is what was said before ``prompt``."""

    history: tuple[ChatMessage, ...]
    prompt: Content
    options: Options
    mode: Mode | None
    data_class: DataClass
    consent: bool | None


def call_of(request: ChatRequest) -> Call:
    """Raises ``UsageError``: a value out of range, or a wish that nothing here can honour."""
    _refuse_unbuilt(request)
    messages = tuple(map(_message, request.messages))
    if messages[-1].role != "user":
        raise unsupported("messages", "the last message must be the user's")
    return Call(
        history=messages[:-1],
        prompt=messages[-1].text,
        options=_options(request),
        mode=_mode(request),
        data_class=DataClass(request.lanai.data_class),
        consent=request.lanai.consent,
    )


def _refuse_unbuilt(request: ChatRequest) -> None:
    form = request.response_format
    if form is not None and form.type != "text":
        raise unsupported("response_format", "only text is built yet")
    if request.tools and request.tool_choice != "none":
        raise unsupported("tools", "tools are not built yet")


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


def _message(message: object) -> ChatMessage:
    if isinstance(message, TextMessage):
        return ChatMessage(role=ROLES[message.role], text=_text(message.content))
    if isinstance(message, AssistantMessage) and not message.tool_calls:
        return ChatMessage(role="assistant", text=_text(message.content or ""))
    raise unsupported("messages", "tool calls are not built yet")


def _text(content: object) -> Content:
    """Parts are joined as they are: what is between them is the client's to say."""
    if isinstance(content, str):
        return Content(content)
    return Content("".join(part.text for part in content))  # type: ignore[attr-defined]
