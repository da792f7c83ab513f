"""A text in short.

1. Cut it where it does not fit the device's context.
2. Tell each piece in short.
3. As long as there is more than one, join what was told and begin again.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, Unpack

from device_agent.features.asking import Featured, Task, Where, check_text, task
from device_agent.features.pieces import fitting, told_once
from device_agent.features.result import Result
from inference.guided import Regex
from lanai.content import Content
from lanai.errors import ContextOverflow, UsageError

__all__ = ["Length", "Summary", "summarize"]

Length = Literal["sentence", "paragraph", "bullets"]

INSTRUCTIONS: Final[dict[Length, str]] = {
    "sentence": "Summarize the input text in one short sentence. Say only what the text says.",
    "paragraph": "Summarize the input text in up to three sentences. Keep names, numbers and "
    "decisions. Say only what the text says.",
    "bullets": "List the key points of the input text, each in a few words. Keep names, numbers "
    "and decisions. Say only what the text says.",
}
MAX_TOKENS: Final[dict[Length, int]] = {"sentence": 64, "paragraph": 160, "bullets": 224}
SLACK: Final = 24
"""Tokens by which one of the instructions may be longer than another."""
BULLETS: Final = Regex(pattern=r"- [^\n]{8,120}(\n- [^\n]{8,120}){1,4}")
"""Two to five lines that end: a small model that lists goes on listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Result):
    """``text``: one sentence, a paragraph, or a line ``- …`` for each bullet.

    ``pieces``: in how many the text was read; more than one where it is longer than the context.
    """

    text: Content
    bullets: tuple[Content, ...] = ()
    pieces: int = 1


async def summarize(
    where: Where, text: str, *, length: Length = "paragraph", **asked: Unpack[Featured]
) -> Summary:
    """Raises ``UsageError`` for an empty text or another length, and as ``respond`` does."""
    if length not in INSTRUCTIONS:
        raise UsageError("length is none of " + ", ".join(INSTRUCTIONS))
    work = task(where, "summarize", INSTRUCTIONS[length], asked)
    room = work.asked.get("max_tokens") or MAX_TOKENS[length]
    # 1. Cut.
    parts = await _cut(work, check_text(text), room)
    pieces = len(parts)
    while len(parts) > 1:
        parts = await _folded(work, parts, length, room)
    said = await _told(work, parts[0], length, room)
    points = [line.removeprefix("- ").strip() for line in said.splitlines()]
    return Summary(
        text=said,
        bullets=tuple(map(Content, points)) if length == "bullets" else (),
        pieces=pieces,
        replies=tuple(work.replies),
    )


async def _cut(work: Task, text: str, room: int) -> list[str]:
    return [each for each in await fitting(work, text, room=room + SLACK) if each.strip()]


async def _folded(work: Task, parts: list[str], length: Length, room: int) -> list[str]:
    # 2. Tell each piece; in sentences, whatever the summary is to be.
    work.instruct(INSTRUCTIONS["paragraph"])
    told = [await _told(work, part, "paragraph", room) for part in parts]
    # 3. Join.
    work.instruct(INSTRUCTIONS[length])
    joined = await _cut(work, "\n".join(told), room)
    if len(joined) >= len(parts):
        raise ContextOverflow(
            f"{len(parts)} summaries are no shorter than what they are of",
            limit=room,
            used=room * len(parts),
            hint="lower max_tokens, or raise device_context_tokens",
        )
    return joined


async def _told(work: Task, text: str, length: Length, room: int) -> Content:
    form: Any = BULLETS if length == "bullets" else None
    reply = await work.ask(text, into=form, max_tokens=room)
    said = reply.text.strip()
    if length == "bullets":
        return Content("\n".join(dict.fromkeys(said.splitlines())))
    return Content(told_once(said, most=1 if length == "sentence" else None))
