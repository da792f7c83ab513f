"""Runs the calls of one answer: side by side, bounded, each to a result that the model can be told.

    1. Only what the answering side was told of may be called.
    2. The arguments are validated against the function's signature.
    3. The function runs, in its time.
    4. What it returns becomes text: JSON, unless it is text already.

A call that fails at any step has a result too: a JSON object with ``error``. It tells the model
what was wrong with its arguments, or what the tool says by raising ``ToolFailed``; the words of any
other exception stay here.
"""

import asyncio
import inspect
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from device_agent.tools import AnyTool, FunctionTool
from inference.text import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import ToolFailed
from router.vocabulary import DataClass

__all__ = ["ToolErrors", "ToolRun", "Toolbox"]

ToolErrors = Literal["tell", "raise"]
"""What follows a tool's failure: the model is told, or the request ends with ``ToolFailed``."""

AT_ONCE: Final = 4
MAX_PROBLEMS: Final = 5
"""Of a call's arguments, told to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """One call and what came of it.

    ``failed``: why there is no proper result: ``unknown_tool``, ``arguments``, ``timeout``, or the
    exception's type; ``None`` for a call that went well. ``trace_id``: of the request that asked.
    """

    call: ToolCall
    result: Content
    failed: str | None
    data_class: DataClass
    duration_s: float
    trace_id: str

    def message(self) -> ChatMessage:
        """The result as the model is told."""
        return ChatMessage(role="tool", text=self.result, tool_call_id=self.call.id)


class _Failure(Exception):
    """A call without a proper result: ``why`` for the app, ``told`` for the model."""

    def __init__(self, why: str, told: object) -> None:
        super().__init__(why)
        self.why = why
        self.told = told


class Toolbox:
    """The functions of one request."""

    def __init__(self, tools: Sequence[AnyTool], *, errors: ToolErrors, at_once: int = AT_ONCE):
        self._tools = {t.told.name: t for t in tools if isinstance(t, FunctionTool)}
        self._errors = errors
        self._at_once = at_once

    def holds(self, calls: Sequence[ToolCall], tools: Sequence[AnyTool]) -> bool:
        """Whether the calls are run here: none of them is of a tool without a function."""
        names = {call.name for call in calls}
        return not any(not isinstance(t, FunctionTool) and t.name in names for t in tools)

    async def run(
        self, calls: Sequence[ToolCall], *, from_cloud: bool, trace_id: str
    ) -> list[ToolRun]:
        """All results, in the calls' order. Raises ``ToolFailed`` when errors are to be raised."""
        turns = asyncio.Semaphore(self._at_once)

        async def one(call: ToolCall) -> ToolRun:
            async with turns:
                return await self._one(call, from_cloud=from_cloud, trace_id=trace_id)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(call)) for call in calls]
        except* ToolFailed as failures:
            first = _first(failures)
            raise first from first.__cause__  # what the app's own code raised
        return [task.result() for task in tasks]

    async def _one(self, call: ToolCall, *, from_cloud: bool, trace_id: str) -> ToolRun:
        begun = time.perf_counter()
        tool, failed = self._tools.get(call.name), None
        try:
            result = await _result(tool, call, from_cloud=from_cloud)
        except _Failure as failure:
            if self._errors == "raise":
                raise ToolFailed(
                    f"a tool failed ({failure.why})", name=call.name
                ) from failure.__cause__
            result, failed = Content(json.dumps({"error": failure.told})), failure.why
        return ToolRun(
            call=call,
            result=result,
            failed=failed,
            data_class=_class_of(tool, failed),
            duration_s=time.perf_counter() - begun,
            trace_id=trace_id,
        )


async def _result(tool: FunctionTool | None, call: ToolCall, *, from_cloud: bool) -> Content:
    # 1.
    if tool is None or (from_cloud and tool.device_only):
        raise _Failure("unknown_tool", "there is no such tool")
    # 2.
    try:
        arguments = tool.arguments.model_validate_json(call.arguments)
    except ValidationError as error:
        raise _Failure("arguments", _problems(error)) from error
    given = {name: getattr(arguments, name) for name in tool.arguments.model_fields}
    # 3.
    try:
        async with asyncio.timeout(tool.timeout_s):
            value = await _call(tool, given)
        # 4.
        return Content(value if isinstance(value, str) else to_json(value).decode())
    except TimeoutError as error:
        raise _Failure("timeout", "the tool took too long") from error
    except ToolFailed as error:
        raise _Failure("ToolFailed", error.message) from error
    except PydanticSerializationError as error:
        raise _Failure("result", "the tool's result cannot be told") from error
    except Exception as error:  # the app's own code may raise anything
        raise _Failure(type(error).__name__, "the tool failed") from error


async def _call(tool: FunctionTool, given: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(tool.function):
        return await tool.function(**given)
    value = await asyncio.to_thread(tool.function, **given)
    return await value if inspect.isawaitable(value) else value


def _class_of(tool: FunctionTool | None, failed: str | None) -> DataClass:
    """What a tool said, even by failing, is of its class; what was not found said nothing."""
    return DataClass.PUBLIC if tool is None or failed == "unknown_tool" else tool.result_class


def _problems(error: ValidationError) -> list[str]:
    """Where the arguments are wrong and how, without what stood there."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in problems[:MAX_PROBLEMS]
    ]


def _first(failures: "BaseExceptionGroup[ToolFailed]") -> ToolFailed:
    first = failures.exceptions[0]
    return first if isinstance(first, ToolFailed) else _first(first)
