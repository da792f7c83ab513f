"""Tools: the app's own typed functions, told to the model and run on this device only.

    def weather(city: str, days: int = 1) -> Forecast:
        '''Weather of a city for some days.'''

    await session.respond("Will it rain in Oslo?", tools=[weather])

The signature becomes the JSON Schema of the arguments (by Pydantic), the docstring's first
paragraph the description. A plain function runs in a thread, an ``async`` one in the event loop.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, create_model

from device_agent.given import word_of
from inference.text.tools import Tool
from lanai.errors import UsageError
from router.vocabulary import DataClass

__all__ = ["AnyTool", "Function", "FunctionTool", "told", "tools_of"]

Function = Callable[..., Any] | Callable[..., Awaitable[Any]]

_NO_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_VARIABLE = inspect.Parameter.VAR_KEYWORD


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTool:
    """One function as a tool. Build it with ``of``, or give ``tools=[function]`` as it is.

    ``device_only``: no cloud is told of it, and what it returns never leaves the device.
    ``data_class``: of what it returns; a request that holds its result is at least of this class.
    ``timeout_s``: a call that takes longer has failed; a thread goes on until it ends by itself.
    """

    told: Tool
    function: Function = field(repr=False)
    arguments: type[BaseModel] = field(repr=False)
    device_only: bool = False
    data_class: DataClass = DataClass.PUBLIC
    timeout_s: float = 30.0

    @classmethod
    def of(
        cls,
        function: Function,
        *,
        name: str | None = None,
        description: str | None = None,
        device_only: bool = False,
        data_class: DataClass | str = DataClass.PUBLIC,
        timeout_s: float = 30.0,
    ) -> "FunctionTool":
        """Raises ``UsageError`` for a signature that has no JSON Schema, or a name that is none."""
        if not timeout_s > 0:
            raise UsageError("a tool's timeout_s is not above 0")
        called = str(name or getattr(function, "__name__", ""))
        arguments = _arguments(function, called)
        return cls(
            told=Tool(
                name=called,
                description=_first_paragraph(function) if description is None else description,
                parameters=_schema(arguments),
            ),
            function=function,
            arguments=arguments,
            device_only=device_only,
            data_class=word_of(DataClass, data_class, "data_class"),
            timeout_s=timeout_s,
        )

    @property
    def result_class(self) -> DataClass:
        """Of what it returns: nothing a ``device_only`` tool says leaves the device."""
        return DataClass.SECRET if self.device_only else self.data_class


AnyTool = FunctionTool | Tool
"""A ``Tool`` has no function here: its calls are handed to the app with the reply."""


def tools_of(given: Iterable[AnyTool | Function]) -> tuple[AnyTool, ...]:
    """Functions become tools. Raises ``UsageError``."""
    if callable(given) or isinstance(given, FunctionTool | Tool | str):
        raise UsageError("`tools` is one thing", hint="tools=[a_function], even for one")
    return tuple(
        each if isinstance(each, FunctionTool | Tool) else FunctionTool.of(each) for each in given
    )


def told(tools: Sequence[AnyTool], *, cloud: bool = False) -> tuple[Tool, ...]:
    """What a model is told: on this device of all, in a cloud of none that is ``device_only``."""
    return tuple(
        tool if isinstance(tool, Tool) else tool.told
        for tool in tools
        if not (cloud and isinstance(tool, FunctionTool) and tool.device_only)
    )


def _arguments(function: Function, name: str) -> type[BaseModel]:
    if not callable(function):
        raise UsageError("a tool is a function, a FunctionTool or a Tool")
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
        fields: dict[str, Any] = {each.name: _field(each, hints) for each in parameters}
        return create_model(name or "arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except (NameError, TypeError, ValueError, PydanticUserError):
        raise UsageError(
            "a tool's signature cannot be told to a model",
            hint="named parameters with types that Pydantic knows; no *args, no **kwargs",
        ) from None


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    if parameter.kind in _NO_PLACE or parameter.kind is _VARIABLE:
        raise TypeError("not by name")
    default = ... if parameter.default is parameter.empty else parameter.default
    return hints.get(parameter.name, Any), default


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    from device_agent.structured import schema_of

    schema = schema_of(arguments)
    schema.pop("title", None)
    return schema


def _first_paragraph(function: Function) -> str:
    text = inspect.getdoc(function) or ""
    return " ".join(text.split("\n\n")[0].split())
