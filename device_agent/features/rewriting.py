"""A text in another tone. What it states may get lost on the way, so the result says what did.

1. Ask, and drop what makes it much longer than the text.
2. Where what can be counted is wrong (a fact lost, the same text, another length), ask anew in
   other words.
3. Keep the better of the two.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, Unpack

from device_agent.features.asking import Featured, Task, Where, check_text, task
from device_agent.features.pieces import sentences, told_once
from device_agent.features.result import Result
from lanai.content import Content
from lanai.errors import LanaiError, UsageError

__all__ = ["Rewritten", "Tone", "facts", "rewrite"]

Tone = Literal["friendly", "professional", "concise"]

_MORE: Final[dict[Tone, str]] = {
    "friendly": "friendlier and warmer",
    "professional": "more professional and formal",
    "concise": "shorter and more concise",
}
WORDINGS: Final = (
    "Rewrite this text in a {tone} tone.\n\n{text}",
    "Make this text {more}.\n\n{text}",
)
"""In the prompt, not as instructions: a small model that is given the text alone answers it."""
LEAST, MOST = 0.3, 2.0
"""Words of a rewritten text, for each of the original; what is outside is another text."""

_NUMBER: Final = re.compile(r"\d+(?:[.,:/-]\d+)*%?")
_ADDRESS: Final = re.compile(r"\S+@\S+\.\w+|https?://\S+")
_NAME: Final = re.compile(
    r"(?<![.!?:\n\"'(] )(?<!^)\b[A-Z][\w'-]*[a-z]\w*(?: [A-Z][\w'-]*[a-z]\w*)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Result):
    """``lost``: names, numbers and addresses of the original that are not in ``text``.

    Where it is not empty, do not put ``text`` in the original's place unasked.
    """

    text: Content
    lost: tuple[Content, ...]


async def rewrite(where: Where, text: str, *, tone: Tone, **asked: Unpack[Featured]) -> Rewritten:
    """Raises ``UsageError`` for an empty text or another tone, and as ``respond`` does.

    A text that does not fit is a ``ContextOverflow``, where the cloud may not answer. Two requests,
    where the first answer is wrong in what can be counted.
    """
    if tone not in _MORE:
        raise UsageError("tone is none of " + ", ".join(_MORE))
    stated = facts(check_text(text))
    work = task(where, "rewrite", "", asked)
    room = await _room(work, text)
    first, *others = _prompts(text, tone, asked)
    # 1. Ask.
    tries = [await _said(work, first, text, room)]
    # 2. Ask in other words.
    for prompt in others if any(_faults(text, tries[0], stated)) else ():
        with suppress(LanaiError):  # what has been said stands, with what it lost
            tries.append(await _said(work, prompt, text, room))
    # 3. The better one.
    said = min(tries, key=lambda each: _faults(text, each, stated))
    return Rewritten(text=said, lost=_lost(said, stated), replies=tuple(work.replies))


def _prompts(text: str, tone: Tone, asked: Featured) -> list[str]:
    """The text alone under instructions of the app's; asked once where it brings an adapter."""
    if asked.get("instructions"):
        return [text]
    wordings = WORDINGS[:1] if asked.get("adapter") else WORDINGS
    return [each.format(tone=tone, more=_MORE[tone], text=text) for each in wordings]


async def _said(work: Task, prompt: str, text: str, room: int) -> Content:
    """Whole sentences, none twice, and none that makes it more than ``MOST`` times as long."""
    reply = await work.ask(prompt, max_tokens=room)
    said = told_once(reply.text.strip())
    kept, most = "", MOST * len(text.split())
    for start, end in sentences(said):
        longer = f"{kept} {said[start:end]}".strip()
        if kept and len(longer.split()) > most:
            break
        kept = longer
    return Content(kept)


def _faults(text: str, said: str, stated: Sequence[Content]) -> tuple[int, bool]:
    """Facts that are lost, and whether it is the same text or another one; the fewer the better."""
    words, told = text.split(), said.split()
    other = not LEAST <= len(told) / len(words) <= MOST
    return len(_lost(said, stated)), other or words == told


def _lost(said: str, stated: Sequence[Content]) -> tuple[Content, ...]:
    return tuple(fact for fact in stated if fact.lower() not in said.lower())


async def _room(work: Task, text: str) -> int:
    """Half as much again as the text: what a small model says after that is not of it."""
    with_text, told = await work.budget(text), await work.budget()
    spent = len(text) // 3 if with_text is None or told is None else with_text.used - told.used
    return spent + spent // 2 + 32


def facts(text: str) -> tuple[Content, ...]:
    """Numbers, addresses, and names (capitalized words that do not begin a sentence), each once."""
    return tuple(dict.fromkeys(Content(fact.rstrip(".,:;!?)")) for fact in _found(text)))


def _found(text: str) -> Iterator[str]:
    for kind in (_ADDRESS, _NUMBER, _NAME):
        for found in kind.finditer(text):
            yield found[0]
