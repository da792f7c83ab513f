"""The app's last word before a request leaves: its text is redacted, then the app may say no.

    1. ``redact`` is given each text of the conversation (tool calls and results too) and returns
       what may leave in its place. The device's own answer never sees this.
    2. ``approve`` is told what is about to leave, and to which verified nodes' cluster. Without its
       yes nothing leaves: the device answers where the mode allows, else ``ConsentRefused``.

For an endpoint outside (`device_agent.external`) ``approve`` is a must: without it nothing leaves.
Both come before the ledger's intent, the token and the seal. What they raise is raised to the app,
and nothing was sent.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from device_agent.cloud_seam import CloudAsk
from inference.text import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import ConsentRefused, UsageError

__all__ = ["STAY_AS_IT_IS", "Approve", "Departure", "Outside", "Proposal", "Redact", "told_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What would leave, counted after ``redact``. ``reason`` is the router's word.

    ``tools`` are the names of those the cloud would be told of. ``destination`` is ``cloud``,
    sealed to verified nodes, or ``external``: then ``endpoint`` is its URL and ``bytes`` what it
    would be sent, readable by whoever runs it.
    """

    reason: str
    mode: str
    data_class: str
    messages: int
    characters: int
    tools: tuple[str, ...]
    destination: str = "cloud"
    endpoint: str | None = None
    bytes: int | None = None


Redact = Callable[[Content], str]
Approve = Callable[[Proposal], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """An endpoint that nobody attested, and how many bytes a request is for it."""

    endpoint: str
    size: Callable[[CloudAsk], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """The hooks of one session."""

    redact: Redact | None = None
    approve: Approve | None = None

    async def prepare(
        self,
        ask: CloudAsk,
        *,
        reason: str,
        mode: str,
        data_class: str,
        outside: Outside | None = None,
    ) -> CloudAsk:
        """What may leave. Raises ``ConsentRefused``."""
        # 1. Redact.
        ready = ask if self.redact is None else _redacted(ask, self.redact)
        # 2. Approve.
        if self.approve is None:
            if outside is not None:
                raise _refused("nobody was asked whether this request may go outside")
            return ready
        proposal = Proposal(
            reason=reason,
            mode=mode,
            data_class=data_class,
            messages=len(ready.messages),
            characters=sum(len(each.text) for each in ready.messages),
            tools=tuple(tool.name for tool in ready.tools),
            destination="cloud" if outside is None else "external",
            endpoint=None if outside is None else outside.endpoint,
            bytes=None if outside is None else outside.size(ready),
        )
        answer = self.approve(proposal)
        if (await answer if inspect.isawaitable(answer) else answer) is not True:
            raise _refused("the app refused that this request leaves")
        return ready


STAY_AS_IT_IS: Final = Departure()


def told_of(messages: Sequence[ChatMessage]) -> tuple[Content, ...]:
    """What leaves, a line for each message, for its owner's own ledger."""
    calls = ("".join(f" [{c.name} {c.arguments}]" for c in each.tool_calls) for each in messages)
    return tuple(
        Content(f"{each.role}: {each.text}{called}")
        for each, called in zip(messages, calls, strict=True)
    )


def _refused(why: str) -> ConsentRefused:
    return ConsentRefused(
        f"{why}; nothing was sent", hint="mode auto lets the device answer instead"
    )


def _redacted(ask: CloudAsk, redact: Redact) -> CloudAsk:
    return replace(ask, messages=tuple(_message(each, redact) for each in ask.messages))


def _message(message: ChatMessage, redact: Redact) -> ChatMessage:
    calls = tuple(_call(each, redact) for each in message.tool_calls)
    return replace(message, text=_text(message.text, redact), tool_calls=calls)


def _call(call: ToolCall, redact: Redact) -> ToolCall:
    return replace(call, arguments=_text(call.arguments, redact))


def _text(text: Content, redact: Redact) -> Content:
    left = redact(text)
    if not isinstance(left, str):
        raise UsageError("`redact` returned no text; nothing was sent")
    return Content(left)
