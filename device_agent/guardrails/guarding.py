"""The checks of a session, asked around each of its requests.

    1. Before anything else: each text that users and tools said is given to each input check. A
       refusal raises ``Refused``; nothing was rendered, counted, routed or sent.
    2. Before anything is shown: the answer is held back in pieces of about a sentence, and each
       is given to each output check, with the last of what was shown before it. An answer that
       nobody sees before its end is looked at whole. What a tool would be called with is looked at
       too.

The instructions are the app's own and are not looked at; neither is what the model said before.
Where a conversation comes from elsewhere, no role is the app's own: see ``whole_history``.
Of a streamed answer, what was shown before a refusal stays shown: ``Refused.shown`` counts it.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from device_agent.guardrails.pieces import Pieces
from device_agent.guardrails.verdict import Check, Verdict
from device_agent.tracing import RequestTrace
from inference.text import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import Concern, GuardSide, Refused, UsageError
from lanai.telemetry import Attr, Span

__all__ = ["UNGUARDED", "Guard", "Guardrails"]

BEFORE: Final = 1000
"""Characters of what was shown that an output check is told before a piece."""
LOOKED_AT: Final = frozenset({"user", "tool"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrails:
    """Checks in the order they are asked; the first that refuses is the last.

    ``whole_history``: input checks are given what every role said, instructions and earlier answers
    with their calls too. For conversations that the app has not held itself.
    """

    input: tuple[Check, ...] = ()
    output: tuple[Check, ...] = ()
    whole_history: bool = False


UNGUARDED: Final = Guardrails()


class Guard:
    """The checks around one request."""

    def __init__(self, rails: Guardrails, trace: RequestTrace, *, whole: bool) -> None:
        self._rails = rails
        self._trace = trace
        self._pieces = Pieces(whole=whole)
        self._shown = ""
        self._count = 0

    async def admit(self, messages: Sequence[ChatMessage]) -> None:
        """Raises ``Refused``."""
        if not self._rails.input:
            return
        with self._trace.step(Span.GUARD) as step:
            step.set(Attr.GUARD_SIDE, GuardSide.INPUT.value)
            for text in _said(messages, whole=self._rails.whole_history):
                concern = await _first(self._rails.input, text)
                if concern is not None:
                    step.set(Attr.GUARD_CONCERN, concern.value)
                    raise self._refusal(GuardSide.INPUT, concern)

    async def watch(
        self, pieces: AsyncGenerator[Content | ToolCall, None]
    ) -> AsyncGenerator[Content | ToolCall, None]:
        """The same, once it was looked at. Raises ``Refused``."""
        async with aclosing(pieces):
            async for piece in pieces:
                if not self._rails.output:
                    yield piece
                    continue
                call = isinstance(piece, ToolCall)
                text = self._pieces.rest() if call else self._pieces.push(str(piece))
                if text:
                    yield await self._look(text)
                if isinstance(piece, ToolCall):
                    await self._judge(piece.arguments)
                    yield piece
        if rest := self._pieces.rest():
            yield await self._look(rest)

    def forget(self) -> None:
        """What was held back is of an answer that broke off."""
        self._pieces.forget()

    async def _look(self, text: Content) -> Content:
        await self._judge(Content(self._shown + text))
        self._shown = (self._shown + text)[-BEFORE:]
        self._count += len(text)
        return text

    async def _judge(self, text: Content) -> None:
        concern = await _first(self._rails.output, text)
        if concern is None:
            return
        with self._trace.step(Span.GUARD) as step:
            step.set(Attr.GUARD_SIDE, GuardSide.OUTPUT.value)
            step.set(Attr.GUARD_CONCERN, concern.value)
            raise self._refusal(GuardSide.OUTPUT, concern)

    def _refusal(self, side: GuardSide, concern: Concern) -> Refused:
        what = "request; nothing left" if side is GuardSide.INPUT else "answer"
        return Refused(
            f"a guardrail refused the {what} ({concern.value})",
            side=side,
            concern=concern,
            shown=self._count,
            hint="the session's `guardrails` say what is refused (docs/guardrails.md)",
        )


def _said(messages: Sequence[ChatMessage], *, whole: bool) -> Iterator[Content]:
    for each in messages:
        if whole or each.role in LOOKED_AT:
            yield from filter(None, (each.text, *(call.arguments for call in each.tool_calls)))


async def _first(checks: Sequence[Check], text: Content) -> Concern | None:
    """What the first refusal is for."""
    for check in checks:
        answer = await asyncio.to_thread(check, text)
        verdict = await answer if inspect.isawaitable(answer) else answer
        if not isinstance(verdict, Verdict):
            raise UsageError("a guardrail's check returned no Verdict; nothing was let through")
        if verdict.concern is not None:
            return verdict.concern
    return None
