"""A conversation that no longer fits, made short by the model itself.

    1. Keep the instructions and the last messages; what is between them is to be told in short.
    2. Fold it into a summary, as many messages at a time as fit the device's context.
    3. Go on with the instructions, the summary and what was kept.

The requests are the session's own: its mode, data class and hooks hold for them as for any other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from device_agent.options import Options
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import ModelError, UsageError
from router.vocabulary import Mode

if TYPE_CHECKING:
    from device_agent.runtime import Ask
    from device_agent.session import AsyncSession

__all__ = ["compact", "made_to_fit"]

ASKED: Final = (
    "Tell the conversation so far in a few short sentences. Keep names, numbers and decisions."
)
KEPT: Final = 2
SUMMARY_TOKENS: Final = 160
"""Of the summary that a session writes by itself."""
LED_IN: Final = "What was said before, in short:"


async def compact(session: "AsyncSession", *, keep: int, max_tokens: int) -> bool:
    """Whether there was anything to shorten. Raises as ``respond`` does; then nothing changed."""
    if keep < 0:
        raise UsageError("keep is below 0")
    # 1. What is kept.
    instructions, said = _parted(session.transcript)
    old, kept = _split(said, keep)
    if not old:
        return False
    # 2. Fold.
    summary = Content("")
    while old:
        taken = await _that_fit(session, summary, old, max_tokens)
        summary = await _told(session, _prompt(summary, old[:taken]), max_tokens)
        old = old[taken:]
    # 3. Go on.
    parts = [*(each.text for each in instructions), f"{LED_IN} {summary.strip()}"]
    session.restore([ChatMessage(role="system", text=Content("\n\n".join(parts))), *kept])
    return True


async def made_to_fit(session: "AsyncSession", ask: "Ask") -> tuple["Ask", int]:
    """``ask`` with its oldest messages told in short where it does not fit the device.

    And how many were told: 0 where it fits, where the cloud is wanted anyway, where the device's
    model cannot count, or where a tool's result waits for its answer. The requests that summarize
    have the mode, data class and consent of ``ask`` itself.
    """
    *said, last = ask.messages
    if last.role != "user" or ask.mode in (Mode.ONLY_IN_CLOUD, Mode.PREFER_IN_CLOUD):
        return ask, 0
    twin = _told_like(session, ask, said)
    try:
        if (await twin.budget(last.text)).left >= ask.max_tokens:
            return ask, 0
    except ModelError:
        return ask, 0
    if not await compact(twin, keep=KEPT, max_tokens=SUMMARY_TOKENS):
        return ask, 0
    kept = twin.transcript
    told = len(_parted(said)[1]) - len(_parted(kept)[1])
    return replace(ask, messages=(*kept, last)), told


def _told_like(session: "AsyncSession", ask: "Ask", said: Sequence[ChatMessage]) -> "AsyncSession":
    twin = session.fork()
    twin.mode, twin.data_class, twin.consent = ask.mode, ask.data_class, ask.consent
    twin.overflow = "raise"
    twin.restore(said)
    return twin


def _parted(
    transcript: Sequence[ChatMessage],
) -> tuple[Sequence[ChatMessage], Sequence[ChatMessage]]:
    start = next((at for at, each in enumerate(transcript) if each.role != "system"), None)
    return (transcript, ()) if start is None else (transcript[:start], transcript[start:])


def _split(
    said: Sequence[ChatMessage], keep: int
) -> tuple[Sequence[ChatMessage], Sequence[ChatMessage]]:
    """What is kept begins with a user's message: no result without its call."""
    at = max(len(said) - keep, 0)
    while at < len(said) and said[at].role != "user":
        at += 1
    return said[:at], said[at:]


async def _that_fit(
    session: "AsyncSession", summary: Content, old: Sequence[ChatMessage], max_tokens: int
) -> int:
    """How many of ``old`` are told at once. One at least: if it does not fit, it is an overflow."""
    fits = len(old)
    while fits > 1:
        budget = await _alone(session).budget(_prompt(summary, old[:fits]))
        if budget.left >= max_tokens:
            break
        fits //= 2
    return fits


async def _told(session: "AsyncSession", prompt: str, max_tokens: int) -> Content:
    reply = await _alone(session).respond(prompt, options=Options(max_tokens=max_tokens))
    return reply.text


def _alone(session: "AsyncSession") -> "AsyncSession":
    """The session without what was said in it."""
    twin = session.fork()
    twin.restore([ChatMessage(role="system", text=Content(ASKED))])
    return twin


def _prompt(summary: Content, old: Sequence[ChatMessage]) -> str:
    lines = [f"{LED_IN} {summary}"] if summary else []
    for each in old:
        calls = "".join(f" [{call.name} {call.arguments}]" for call in each.tool_calls)
        lines.append(f"{each.role}: {each.text}{calls}")
    return "\n".join(lines)
