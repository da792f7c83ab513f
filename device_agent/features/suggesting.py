"""Which of the app's actions a person means, if any. Nothing is run: the app asks, then does.

1. Ask which, among the actions' names and ``none``: the request that is routed.
2. Where the device answered, judge again by likelihood: the action under which the utterance is the
   least surprising, and ``none`` where no action explains it much better than nothing does.
3. Ask for the arguments, held to the action's own schema, its texts to words of the utterance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Unpack

from device_agent.features.asking import Featured, Task, Where, check_text, task
from device_agent.features.extracting import held_to
from device_agent.features.likelihood import Said
from device_agent.features.result import Result
from device_agent.tools import AnyTool, Function, FunctionTool, told, tools_of
from inference.guided import Choices
from inference.text import Tool
from lanai.errors import UsageError
from router.vocabulary import DataClass, Destination

__all__ = ["Suggestion", "suggest_action"]

NONE: Final = "none"
INSTRUCTIONS: Final = (
    "Actions of the app:\n{actions}\n"
    "Name the action that the user wants, or none where no action fits."
)
ARGUMENTS: Final = "Give the arguments of the action {name}: {description}"
WANTS: Final = "Write what somebody says to an assistant who wants: {want}."
NOBODY: Final = "Write what somebody says to an assistant."
LEAST_GAIN: Final = 6.0
"""Nats. Measured: see ``lanai bench features``."""
MAX_ARGUMENT_TOKENS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion(Result):
    """False where no action fits; ``action`` is then ``None``, and the reply still says why here.

    ``arguments``: of the action's schema; texts among them stand in the utterance, all else is to
    be trusted no more than the model is.
    ``gain``: nats by which the utterance is likelier from who wants this; ``None`` from the cloud.
    """

    action: str | None
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    gain: float | None = None

    def __bool__(self) -> bool:
        return self.action is not None


async def suggest_action(
    where: Where,
    utterance: str,
    actions: Iterable[AnyTool | Function],
    *,
    least_gain: float = LEAST_GAIN,
    **asked: Unpack[Featured],
) -> Suggestion:
    """``actions``: functions, ``FunctionTool``s or ``Tool``s, as ``respond`` takes for tools.

    ``least_gain``: raise it where a wrong suggestion costs more than a missing one. Raises
    ``UsageError`` for no actions, two of a name or one named ``none``, and as ``respond`` does.
    """
    given = tools_of(actions)
    offered = _offered(given)
    if any(isinstance(each, FunctionTool) and each.device_only for each in given):
        asked["data_class"] = DataClass.SECRET  # no cloud may be told of it
    lines = "\n".join(f"{each.name}: {_want(each)}" for each in offered.values())
    work = task(where, "suggest_action", INSTRUCTIONS.format(actions=lines), asked)
    # 1. Ask.
    names = Choices(options=(*offered, NONE))
    reply = await work.ask(check_text(utterance), into=names, max_tokens=32)
    chosen, gain = offered.get(str(reply.value)), None
    # 2. Judge.
    if reply.source is Destination.DEVICE:
        likeliest, gain = await _likeliest(work, utterance, list(offered.values()))
        chosen = likeliest if gain >= least_gain else None
    # 3. Arguments.
    arguments = {} if chosen is None else await _arguments(work, utterance, chosen)
    return Suggestion(
        action=None if chosen is None else chosen.name,
        arguments=arguments,
        gain=gain,
        replies=tuple(work.replies),
    )


def _offered(actions: Sequence[AnyTool]) -> dict[str, Tool]:
    tools = told(actions)
    offered = {tool.name: tool for tool in tools}
    if not tools or len(offered) < len(tools) or NONE in offered:
        raise UsageError(
            "actions need names of their own, none of them `none`", hint="give one at least"
        )
    return offered


async def _likeliest(work: Task, utterance: str, offered: Sequence[Tool]) -> tuple[Tool, float]:
    prompts = [NOBODY, *(WANTS.format(want=_want(each)) for each in offered)]
    said = [Said(prompt=prompt, text=utterance.strip()) for prompt in prompts]
    nobody, *seen = [each.log for each in await work.likelihoods(said)]
    best = max(range(len(seen)), key=seen.__getitem__)
    return offered[best], seen[best] - nobody


def _want(action: Tool) -> str:
    words = action.name.replace("_", " ").replace(".", " ")
    said = action.description.strip().rstrip(".")
    return f"{words} ({said})" if said else words


async def _arguments(work: Task, utterance: str, action: Tool) -> dict[str, Any]:
    if not action.parameters.get("properties"):
        return {}
    work.instruct(ARGUMENTS.format(name=action.name, description=action.description))
    schema = {"type": "object", "additionalProperties": False} | action.parameters
    held = held_to(utterance, schema)
    reply = await work.ask(utterance, into=held, max_tokens=MAX_ARGUMENT_TOKENS)
    return dict(reply.value)
