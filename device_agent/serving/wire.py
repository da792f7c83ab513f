"""What a client may send: OpenAI's chat completion request, read strictly.

Three kinds of fields. *Honoured* ones reach the agent. *Neutral* ones are accepted with the one
value that asks for nothing. *Ignored* ones say nothing about the answer (a user's name, a cache
key). Every other field is an error, so that no wish is dropped in silence.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from device_agent.serving.problems import Problem, Unacceptable

__all__ = [
    "AssistantMessage",
    "ChatRequest",
    "FunctionTool",
    "JsonSchemaFormat",
    "LanaiFields",
    "Message",
    "NamedTool",
    "TextMessage",
    "ToolCall",
    "ToolMessage",
    "read_request",
]

MAX_MESSAGES: Final = 2048
MAX_TOOLS: Final = 128
MAX_NAME: Final = 64
MAX_PARAM: Final = 128

Mode = Literal["auto", "prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud"]


class Wire(BaseModel):
    """Nothing unknown, nothing converted, nothing of a value in ``repr``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: content>"

    __str__ = __repr__


class TextPart(Wire):
    type: Literal["text"]
    text: str


Text = str | Annotated[list[TextPart], Field(min_length=1)]


class TextMessage(Wire):
    """``developer`` is the newer name of ``system``. ``name`` is ignored."""

    role: Literal["system", "developer", "user"]
    content: Text
    name: str | None = None


class CalledFunction(Wire):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    arguments: str
    """JSON text, as the model wrote it."""


class ToolCall(Wire):
    id: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Wire):
    """What was answered before; clients send back the fields of our own answers."""

    role: Literal["assistant"]
    content: Text | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None
    refusal: None = None
    annotations: list[Any] | None = Field(None, max_length=0)
    audio: None = None
    function_call: None = None


class ToolMessage(Wire):
    role: Literal["tool"]
    tool_call_id: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    content: Text


Message = Annotated[TextMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class TextFormat(Wire):
    type: Literal["text"]


class JsonObjectFormat(Wire):
    """``value``: a schema, as Hugging Face's clients send it."""

    type: Literal["json_object"]
    value: dict[str, Any] | None = None


class JsonSchema(Wire):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None
    """Every schema is enforced while decoding, so this says nothing new."""


class JsonSchemaFormat(Wire):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class Function(Wire):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class FunctionTool(Wire):
    type: Literal["function"]
    function: Function


class ToolName(Wire):
    name: str


class NamedTool(Wire):
    type: Literal["function"]
    function: ToolName


class StreamOptions(Wire):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class LanaiFields(Wire):
    """The extension object ``lanai`` of a request."""

    mode: Mode | None = None
    data_class: Literal["public", "personal", "secret"] = "personal"
    consent: bool | None = None
    top_k: int | None = None


class ChatRequest(Wire):
    """One request. Ranges of numbers are the agent's to judge (`device_agent.options`)."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = None
    response_format: (
        Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
        | None
    ) = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    lanai: LanaiFields = LanaiFields()

    # Neutral: only the value that asks for nothing.
    n: Literal[1] | None = None
    store: Literal[False] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    modalities: list[Literal["text"]] | None = None

    # Ignored.
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None


def read_request(body: bytes) -> ChatRequest:
    """Raises ``Unacceptable``, naming the field; never a value of the request."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Unacceptable(_problem(first["type"], first["msg"], first["loc"])) from None


def _problem(kind: str, message: str, path: tuple[int | str, ...]) -> Problem:
    param = ".".join(map(str, path))[:MAX_PARAM] or None
    unknown = kind == "extra_forbidden"
    if kind.startswith("union_tag"):
        message = "unknown kind"  # pydantic's words would quote the value
    neutral = len(path) == 1 and kind in ("literal_error", "greater_than_equal", "less_than_equal")
    what = "unknown field" if unknown else message[:1].lower() + message[1:]
    return Problem(
        status=400,
        type="invalid_request_error",
        code="unsupported_parameter" if unknown or neutral else "invalid_value",
        message=f"{param}: {what}" if param else what,
        param=param,
        hint="docs/serve.md lists the fields that are honoured and those that are ignored",
    )
