"""A text in pieces that fit the device's context, cut where a reader would pause."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, Protocol

from device_agent.budget import Budget
from lanai.errors import ContextOverflow

__all__ = ["fitting", "sentences", "told_once", "whole_sentences"]

_PARAGRAPH: Final = re.compile(r"(?<=\n)\n+")
_LINE: Final = re.compile(r"(?<=\n)")
_SENTENCE: Final = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？])(?=\S)")
_WORD: Final = re.compile(r"(?<=\s)(?=\S)")
_CUTS: Final = (_PARAGRAPH, _LINE, _SENTENCE, _WORD)
_END: Final = re.compile(r"[.!?。！？][\"')\]]*$")


class Counting(Protocol):
    """What is needed of a ``Task``."""

    async def budget(self, prompt: str = "") -> Budget | None: ...


async def fitting(work: Counting, text: str, *, room: int) -> list[str]:
    """Pieces after each of which ``room`` tokens are left. One where all fits, or none counts.

    Raises ``ContextOverflow`` where not even one word fits.
    """
    budget, told = await work.budget(text), await work.budget()
    if budget is None or told is None or budget.left >= room:
        return [text]
    if told.left > room:
        for cut in _CUTS:
            parts = _cut(cut, text)
            if len(parts) > 1:
                halves = _halves(parts)
                return [piece for half in halves for piece in await fitting(work, half, room=room)]
    raise ContextOverflow(
        f"one word of the text and {room} tokens for the answer do not fit the device's context",
        limit=budget.limit,
        used=budget.used + room,
        hint="lower max_tokens, or raise device_context_tokens",
    )


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence or line; what lies between them is white space."""
    start = 0
    for line in text.splitlines(keepends=True):
        for part in _cut(_SENTENCE, line):
            kept = part.strip()
            if kept:
                begin = start + part.index(kept)
                yield begin, begin + len(kept)
            start += len(part)


def whole_sentences(text: str) -> list[str]:
    """Those that came to their end, none twice; all of them where none did.

    What a small model has said, it is likely to say again.
    """
    said = [text[a:b] for a, b in sentences(text)]
    return list(dict.fromkeys([each for each in said if _END.search(each)] or said))


def told_once(text: str) -> str:
    """Its whole sentences, each once."""
    return " ".join(whole_sentences(text))


def _cut(where: re.Pattern[str], text: str) -> list[str]:
    """Parts that joined are the text."""
    cuts = [0, *(found.end() for found in where.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


def _halves(parts: Sequence[str]) -> tuple[str, str]:
    """About as long as each other."""
    half, seen, at = sum(map(len, parts)) / 2, 0, 0
    while at < len(parts) - 1 and (at == 0 or seen + len(parts[at]) <= half):
        seen += len(parts[at])
        at += 1
    return "".join(parts[:at]), "".join(parts[at:])
