"""What an app asks with one prompt, checked and made a request."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from device_agent.departure import STAY_AS_IT_IS, Departure
from device_agent.given import consent_of, options_of, refuse_unknown, word_of
from device_agent.guardrails import UNGUARDED, Guardrails
from device_agent.options import Options
from device_agent.rounds import Prompted, higher
from device_agent.runtime import Ask
from device_agent.structured import target_of
from device_agent.tools import AnyTool, Function, told, tools_of
from inference.guided import check_request
from inference.text import ChatMessage, Tool, ToolChoice
from lanai.errors import UsageError
from router.vocabulary import DataClass, Destination, External, Mode

if TYPE_CHECKING:
    from device_agent.toolbox import ToolErrors

__all__ = ["Asking", "Defaults", "prompted"]

MAX_TOOL_ROUNDS = 4


class Asking(TypedDict, total=False):
    """The keywords of ``respond`` and ``stream`` beside `into`.

    ``mode``, ``data_class`` and ``consent`` default to the session's. ``category``: the app's word
    for requests like this one, where the router's bounds know it. ``tools``: functions,
    ``FunctionTool``, or ``Tool`` whose calls the app runs itself. ``tool_choice``: ``auto``,
    ``none``, ``required``, or a tool's name; it counts for the first round. After
    ``max_tool_rounds`` rounds of calls the model must answer. ``tool_errors``: ``tell`` the model
    (default), or ``raise`` ``ToolFailed``. ``timeout_s``: from the call to the last character,
    tools included; then ``DeadlineExceeded``. ``external``: ``first`` or ``last`` asks for the
    configured endpoint outside, which is not attested: before device and cloud, or where neither
    is left. Only for ``data_class`` public, and after the session's ``approve`` said yes.
    """

    options: Options | None
    mode: Mode | None
    data_class: DataClass | None
    consent: bool | None
    category: str | None
    tools: "Iterable[AnyTool | Function]"
    tool_choice: ToolChoice | str
    max_tool_rounds: int
    tool_errors: "ToolErrors"
    timeout_s: float | None
    external: External | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a session says where a prompt does not. ``least_class``: of what it already holds."""

    mode: Mode
    data_class: DataClass
    least_class: DataClass
    consent: bool | None
    max_output_tokens: int
    ran_on: Destination | None = None
    """Where the session's last turn ran; the cloud, once it was there."""
    departure: Departure = STAY_AS_IT_IS
    guardrails: Guardrails = UNGUARDED


def prompted(
    messages: tuple[ChatMessage, ...], into: Any, asking: Asking, defaults: Defaults
) -> Prompted:
    """Raises ``UsageError`` for a form, tools or options that no answer can follow."""
    refuse_unknown(asking, Asking.__annotations__)
    target = target_of(into)
    options = options_of(asking.get("options"))
    if target.form is not None and options.stop:
        raise UsageError("stop strings would cut an answer of a fixed form", hint="drop `stop`")
    tools, choice = _chosen(
        tools_of(asking.get("tools", ())), asking.get("tool_choice", ToolChoice.AUTO)
    )
    if tools or target.form is not None or choice is ToolChoice.REQUIRED:
        check_request(target.form, told(tools), choice)
    consent = consent_of(asking.get("consent"))
    ask = Ask(
        messages=messages,
        options=options,
        max_tokens=options.max_tokens or defaults.max_output_tokens,
        mode=word_of(Mode, asking.get("mode") or defaults.mode, "mode"),
        data_class=_data_class(asking, defaults, tools, choice),
        consent=consent_of(defaults.consent) if consent is None else consent,
        form=target.form,
        tools=tools,
        tool_choice=choice,
        category=asking.get("category"),
        session_on=defaults.ran_on,
        check=None if target.form is None else target.value,
        departure=defaults.departure,
        guardrails=defaults.guardrails,
        external=_external(asking),
    )
    return Prompted(
        ask=ask,
        target=target,
        max_tool_rounds=_max_rounds(asking),
        tool_errors=_errors(asking),
        timeout_s=_timeout(asking),
    )


def _data_class(
    asking: Asking, defaults: Defaults, tools: tuple[AnyTool, ...], choice: ToolChoice
) -> DataClass:
    if choice is ToolChoice.REQUIRED and not told(tools, cloud=True):
        return DataClass.SECRET  # no cloud may be told of what must be called
    asked = word_of(DataClass, asking.get("data_class") or defaults.data_class, "data_class")
    return higher(asked, defaults.least_class)


def _max_rounds(asking: Asking) -> int:
    rounds = asking.get("max_tool_rounds", MAX_TOOL_ROUNDS)
    if rounds < 1:
        raise UsageError("max_tool_rounds is below 1", hint="`tools=()` allows no call at all")
    return rounds


def _external(asking: Asking) -> External:
    word = asking.get("external", External.NEVER)
    if word not in list(External):
        raise UsageError("external is neither `never`, `last` nor `first`")
    return External(word)


def _timeout(asking: Asking) -> float | None:
    timeout = asking.get("timeout_s")
    if timeout is not None and not timeout > 0:
        raise UsageError("timeout_s is not above 0")
    return timeout


def _errors(asking: Asking) -> "ToolErrors":
    errors = asking.get("tool_errors", "tell")
    if errors not in ("tell", "raise"):
        raise UsageError("tool_errors is neither `tell` nor `raise`")
    return errors


def _chosen(
    tools: tuple[AnyTool, ...], choice: ToolChoice | str
) -> tuple[tuple[AnyTool, ...], ToolChoice]:
    """A tool chosen by name is the only one told, and required."""
    if choice in list(ToolChoice):
        return tools, ToolChoice(choice)
    named = tuple(tool for tool in tools if _name(tool) == choice)
    if not named:
        raise UsageError(
            "tool_choice is no tool of this request", hint="auto, none, required, or a tool's name"
        )
    return named, ToolChoice.REQUIRED


def _name(tool: AnyTool) -> str:
    return tool.name if isinstance(tool, Tool) else tool.told.name
