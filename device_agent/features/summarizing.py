"""A text in short.

1. Cut it where it does not fit the device's context.
2. Tell each piece in short.
3. Of what the device's model told, keep what the text backs. Where nothing is left, quote the
   text's own beginning: a small model answers a note that reads like a message, or makes one up.
4. Where there is more than one piece, join what was told and begin again; a paragraph may also be
   what was told of the pieces, once that is short.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Unpack

from device_agent.features.asking import Featured, Task, Where, check_text, task
from device_agent.features.backing import backed, beginning, is_short
from device_agent.features.pieces import fitting, whole_sentences
from device_agent.features.result import Result
from inference.guided import Regex
from lanai.content import Content
from lanai.errors import ContextOverflow, UsageError
from router.vocabulary import Destination

__all__ = ["Length", "Summary", "summarize"]

Length = Literal["sentence", "paragraph", "bullets"]

INSTRUCTIONS: Final[dict[Length, str]] = {
    "sentence": "Summarize the input text in one short sentence. Say only what the text says.",
    "paragraph": "Summarize the input text in up to three sentences. Keep names, numbers and "
    "decisions. Say only what the text says.",
    "bullets": "List the key points of the input text, each in a few words. Keep names, numbers "
    "and decisions. Say only what the text says.",
}
PROMPTS: Final[dict[Length, str]] = {
    "sentence": "Summarize this text in one sentence.\n\n{text}",
    "paragraph": "Summarize this text in up to three sentences.\n\n{text}",
    "bullets": "List the key points of this text.\n\n{text}",
}
"""Said with a short text too: a small model that is given a note alone answers it."""
MAX_TOKENS: Final[dict[Length, int]] = {"sentence": 64, "paragraph": 160, "bullets": 224}
MOST_QUOTED: Final[dict[Length, int]] = {"sentence": 1, "paragraph": 3, "bullets": 5}
MOST_WORDS: Final = 110
"""Of a paragraph made of what was told of pieces."""
SLACK: Final = 24
"""Tokens by which one of the instructions may be longer than another."""
BULLETS: Final = Regex(pattern=r"- [^\n]{8,120}(\n- [^\n]{8,120}){1,4}")
"""Two to five lines that end: a small model that lists goes on listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Result):
    """``text``: one sentence, a paragraph, or a line ``- …`` for each bullet.

    ``pieces``: in how many the text was read; more than one where it is longer than the context.
    ``quoted``: the device's model told nothing that the text backs, of all of it or of a piece;
    what stands here instead is the beginning of that, in its own words.
    """

    text: Content
    bullets: tuple[Content, ...] = ()
    pieces: int = 1
    quoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Sentences or points."""

    parts: tuple[str, ...]
    quoted: bool

    @property
    def text(self) -> str:
        return " ".join(self.parts)


async def summarize(
    where: Where, text: str, *, length: Length = "paragraph", **asked: Unpack[Featured]
) -> Summary:
    """Raises ``UsageError`` for an empty text or another length, and as ``respond`` does.

    Instructions or an adapter of the app's are trusted: step 3 is left out for them.
    """
    if length not in INSTRUCTIONS:
        raise UsageError("length is none of " + ", ".join(INSTRUCTIONS))
    work = task(where, "summarize", INSTRUCTIONS[length], asked)
    room = work.asked.get("max_tokens") or MAX_TOKENS[length]
    # 1. Cut.
    parts, quoted = await _cut(work, check_text(text), room), False
    pieces = len(parts)
    while len(parts) > 1:
        # 2. Tell each piece; in sentences, whatever the summary is to be.
        work.instruct(INSTRUCTIONS["paragraph"])
        told = [await _told(work, part, "paragraph", room) for part in parts]
        quoted = quoted or any(each.quoted for each in told)
        # 4. Join.
        if length == "paragraph" and sum(len(each.text.split()) for each in told) <= MOST_WORDS:
            return _summary(work, _joined(told), length, pieces, quoted)
        work.instruct(INSTRUCTIONS[length])
        parts = await _shorter(work, parts, told, room)
    last = await _told(work, parts[0], length, room)
    return _summary(work, last, length, pieces, quoted or last.quoted)


def _summary(work: Task, told: Told, length: Length, pieces: int, quoted: bool) -> Summary:
    points = told.parts if length == "bullets" else ()
    return Summary(
        text=Content("\n".join(f"- {point}" for point in points) if points else told.text),
        bullets=tuple(map(Content, points)),
        pieces=pieces,
        quoted=quoted,
        replies=tuple(work.replies),
    )


def _joined(told: Sequence[Told]) -> Told:
    parts = dict.fromkeys(part for each in told for part in each.parts)
    return Told(parts=tuple(parts), quoted=any(each.quoted for each in told))


async def _cut(work: Task, text: str, room: int) -> list[str]:
    asked, told = await work.budget(PROMPTS["paragraph"]), await work.budget()
    prompt = 0 if asked is None or told is None else asked.used - told.used
    parts = await fitting(work, text, room=room + SLACK + prompt)
    return [each for each in parts if each.strip()]


async def _shorter(work: Task, parts: list[str], told: Sequence[Told], room: int) -> list[str]:
    joined = await _cut(work, "\n".join(each.text for each in told), room)
    if len(joined) >= len(parts):
        raise ContextOverflow(
            f"{len(parts)} summaries are no shorter than what they are of",
            limit=room,
            used=room * len(parts),
            hint="lower max_tokens, or raise device_context_tokens",
        )
    return joined


async def _told(work: Task, text: str, length: Length, room: int) -> Told:
    plain = work.asked.get("instructions") or not is_short(text)
    prompt = text if plain else PROMPTS[length].format(text=text)
    form = BULLETS if length == "bullets" else None
    reply = await work.ask(prompt, into=form, max_tokens=room)
    said = _points(reply.text) if length == "bullets" else whole_sentences(reply.text.strip())
    most = 1 if length == "sentence" else None
    # 3. Keep what the text backs.
    own = work.asked.get("instructions") or work.asked.get("adapter")
    if own or reply.source is not Destination.DEVICE:
        return Told(parts=tuple(said[:most]), quoted=False)
    kept = [each for each in said if backed(each, text)][:most]
    quoted = beginning(text, most=MOST_QUOTED[length])
    return Told(parts=tuple(kept or quoted), quoted=not kept)


def _points(text: str) -> list[str]:
    """Of lines ``- …``, none twice."""
    return list(dict.fromkeys(line.removeprefix("- ").strip() for line in text.splitlines()))
