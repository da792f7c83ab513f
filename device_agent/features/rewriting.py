"""A text in another tone. What it states may get lost on the way, so the result says what did."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Unpack

from device_agent.features.asking import Featured, Task, Where, check_text, task
from device_agent.features.pieces import told_once
from device_agent.features.result import Result
from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["Rewritten", "Tone", "facts", "rewrite"]

Tone = Literal["friendly", "professional", "concise"]

INSTRUCTIONS: Final[dict[Tone, str]] = {
    "friendly": "You rewrite text. Make the input text friendlier and warmer, and keep its "
    "main points.",
    "professional": "You rewrite text. Make the input text more professional and formal, and keep "
    "what it says.",
    "concise": "You rewrite text. Make the input text more concise, and keep its core meaning.",
}
KEEP: Final = " Keep as they are: {facts}."
MOST_KEPT: Final = 12
"""Facts named in the instructions; a longer list is no help to a small model."""

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

    A text that does not fit is a ``ContextOverflow``, where the cloud may not answer.
    """
    if tone not in INSTRUCTIONS:
        raise UsageError("tone is none of " + ", ".join(INSTRUCTIONS))
    stated = facts(check_text(text))
    keep = KEEP.format(facts=", ".join(stated[:MOST_KEPT])) if stated else ""
    work = task(where, "rewrite", INSTRUCTIONS[tone] + keep, asked)
    reply = await work.ask(text, max_tokens=await _room(work, text))
    said = Content(told_once(reply.text.strip()))
    return Rewritten(
        text=said,
        lost=tuple(fact for fact in stated if fact.lower() not in said.lower()),
        replies=tuple(work.replies),
    )


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
