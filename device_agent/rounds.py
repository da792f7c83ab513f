"""One prompt to its final answer: requests, and the tools that run between them.

1. Ask. Each request is routed, sealed and paid for on its own; no tool runs in a cloud.
2. The answer is text: it is the final one. Or calls of the app's own making: they are handed
   to the app with the reply.
3. Else run the calls here, and add them with their results to the conversation.
4. The next request holds the results: its data class is raised to theirs. Ask again; the model
   may call again, and in the last round it must answer.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from device_agent.reply import Reply, TextEvent
from device_agent.runtime import Ask, Runtime
from device_agent.structured import Target
from device_agent.toolbox import Toolbox, ToolErrors, ToolRun
from device_agent.turn import Turn
from inference.engine import FinishReason
from inference.text import ChatMessage, ToolChoice
from lanai.content import Content
from lanai.errors import ValidationFailed
from router.decision import Decision
from router.vocabulary import DataClass, Destination

__all__ = ["Prompted", "Rounds", "higher"]

_ORDER = (DataClass.PUBLIC, DataClass.PERSONAL, DataClass.SECRET)


def higher(one: DataClass, other: DataClass) -> DataClass:
    """The more private of two."""
    return max(one, other, key=_ORDER.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """One prompt as the app made it: its first request, and what is to become of the answer."""

    ask: Ask
    target: Target[Any] = field(repr=False)
    max_tool_rounds: int
    tool_errors: ToolErrors
    timeout_s: float | None = None


class Rounds:
    """Iterate ``run`` to its end, then read ``reply`` and ``ask``, the last request made."""

    def __init__(self, runtime: Runtime, prompted: Prompted) -> None:
        self.reply: Reply[Any] | None = None
        self.ask = prompted.ask
        self._runtime = runtime
        self._prompted = prompted
        self._toolbox = Toolbox(prompted.ask.tools, errors=prompted.tool_errors)
        self._begun = time.perf_counter()
        self._first_ms: float | None = None
        self._turn = Turn(runtime, self.ask)
        self._replies: list[Reply[Content]] = []
        self._runs: list[ToolRun] = []

    @property
    def trace_id(self) -> str:
        """Of the request that runs, or ran last."""
        return self._turn.trace_id

    @property
    def decision(self) -> Decision | None:
        return self._turn.decision

    async def run(self) -> AsyncGenerator[TextEvent, None]:
        """Text, parts of the value, and calls as they were run. Raises any ``LanaiError``."""
        for left in range(self._prompted.max_tool_rounds, -1, -1):
            # 1.
            async with aclosing(self._said()) as events:
                async for event in events:
                    yield event
            reply = self._replies[-1]
            # 2.
            if not reply.tool_calls or not self._toolbox.holds(reply.tool_calls, self.ask.tools):
                break
            # 3.
            runs = await self._toolbox.run(
                reply.tool_calls,
                from_cloud=reply.source is Destination.CLOUD,
                trace_id=reply.trace_id,
            )
            for run in runs:
                yield TextEvent(text=Content(""), tool_run=run)
            # 4.
            self._runs += runs
            self.ask = next_ask(self.ask, reply, runs, last=left == 1)
            self._turn = Turn(self._runtime, self.ask)
        self.reply = self._whole(self._replies[-1])

    async def _said(self) -> AsyncGenerator[TextEvent, None]:
        """One request's text."""
        target, shown, before = self._prompted.target, "", None
        async with aclosing(self._turn.run()) as pieces:
            async for piece in pieces:
                if self._first_ms is None:
                    self._first_ms = (time.perf_counter() - self._begun) * 1e3
                shown += piece
                partial = target.partial(shown)
                fresh, before = partial != before, partial
                yield TextEvent(text=piece, partial=partial if fresh else None)
        if self._turn.reply is not None:
            self._replies.append(self._turn.reply)

    def _whole(self, last: Reply[Content]) -> Reply[Any]:
        usage = replace(
            last.usage,
            input_tokens=sum(reply.usage.input_tokens for reply in self._replies),
            output_tokens=sum(reply.usage.output_tokens for reply in self._replies),
            ttft_ms=self._first_ms,
        )
        value = last.text if last.tool_calls else self._value(last)
        return replace(last, value=value, usage=usage, tool_runs=tuple(self._runs))

    def _value(self, last: Reply[Content]) -> Any:
        cut_off = last.finish_reason is FinishReason.LENGTH
        if cut_off and not last.text and self.ask.tools:  # half a call is neither text nor call
            raise _cut_off()
        try:
            return self._prompted.target.value(last.text)
        except ValidationFailed:
            if cut_off:
                raise _cut_off() from None
            raise


def next_ask(ask: Ask, reply: Reply[Content], runs: list[ToolRun], *, last: bool) -> Ask:
    """The request that follows on the results."""
    said = ChatMessage(role="assistant", text=reply.text, tool_calls=reply.tool_calls)
    data_class = ask.data_class
    for run in runs:
        data_class = higher(data_class, run.data_class)
    return replace(
        ask,
        messages=(*ask.messages, said, *(run.message() for run in runs)),
        data_class=data_class,
        session_on=reply.source,
        tool_choice=ToolChoice.NONE if last else ToolChoice.AUTO,
    )


def _cut_off() -> ValidationFailed:
    return ValidationFailed(
        "the answer was cut off by max_tokens",
        cut_off=True,
        hint="bound the form's texts, numbers and lists (`max_length`, `le`), or raise max_tokens",
    )
