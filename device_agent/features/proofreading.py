"""Spelling and grammar. Every change has a place that was counted here, never by a model.

``scope="spelling"``, a sentence at a time:

1. Doubt words that the model's vocabulary does not hold, one slip away from one that it does.
2. In its sentence, how likely is the word with the few after it, as it stands and as each of those?
3. One that is far likelier takes its place. Nothing is asked and nothing leaves the device.

``scope="all"``: the model writes the text anew, in pieces that fit; the changes are what differs.
A small model then changes what was right: compare ``docs/features.md``.
"""

from dataclasses import dataclass
from typing import Final, Literal, Unpack

from device_agent.features.asking import Featured, Task, Where, check_text, task
from device_agent.features.changes import Change, changes
from device_agent.features.likelihood import Said
from device_agent.features.pieces import fitting, sentences
from device_agent.features.result import Result
from device_agent.features.spelling import Doubt, doubts
from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["Proofread", "Scope", "proofread"]

Scope = Literal["spelling", "all"]

INSTRUCTIONS: Final[dict[Scope, str]] = {
    "spelling": "Write a sentence.",
    "all": "Correct spelling, grammar and punctuation of the input text. Change nothing else. "
    "Answer with the corrected text alone.",
}
LEAST_GAIN: Final = 6.0
"""Nats. Measured with the packed default on sentences that `lanai bench features` does not hold:
ten words that were right gained 2 at most, sixty that were not 6.8 and more."""
WORDS_AFTER: Final = 3
MOST_DOUBTS: Final = 12
"""Of one sentence; one with more is no prose of the model's language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofread(Result):
    """``text``: the given text with ``changes``. ``spelling`` asks nobody: there are no replies."""

    text: Content
    changes: tuple[Change, ...]


async def proofread(
    where: Where, text: str, *, scope: Scope = "spelling", **asked: Unpack[Featured]
) -> Proofread:
    """Raises ``UsageError`` for an empty text or another scope, and as ``respond`` does.

    ``spelling`` is judged on the device alone, whatever the mode; it raises ``ModelError`` without
    a device model.
    """
    if scope not in INSTRUCTIONS:
        raise UsageError("scope is none of " + ", ".join(INSTRUCTIONS))
    work = task(where, "proofread", INSTRUCTIONS[scope], asked)
    correct = _spelled if scope == "spelling" else _rewritten
    corrected = await correct(work, check_text(text))
    return Proofread(
        text=Content(corrected), changes=changes(text, corrected), replies=tuple(work.replies)
    )


async def _spelled(work: Task, text: str) -> str:
    encoder = await work.session._runtime.device.text()
    parts, kept = list[str](), 0
    for start, end in sentences(text):
        sentence = text[start:end]
        # 1. Doubt.
        found = list(doubts(sentence, encoder))
        for doubt in found if len(found) <= MOST_DOUBTS else ():
            # 2. How likely.
            meant = await _meant(work, sentence, doubt)
            # 3. Replace.
            parts += [text[kept : start + doubt.start], meant]
            kept = start + doubt.end
    return "".join([*parts, text[kept:]])


async def _meant(work: Task, sentence: str, doubt: Doubt) -> str:
    lead, after = sentence[: doubt.start], sentence[doubt.end :]
    # A space belongs to the word's token.
    lead, space = lead.rstrip(" "), " " * lead.endswith(" ")
    after = " ".join(after.split(" ")[: WORDS_AFTER + 1])
    words = [sentence[doubt.start : doubt.end], *doubt.candidates]
    prompt = work.asked.get("instructions") or INSTRUCTIONS["spelling"]
    said = [Said(prompt=prompt, lead=lead, text=f"{space}{word}{after}") for word in words]
    as_it_is, *others = [each.log for each in await work.likelihoods(said)]
    best = max(others)
    return words[1 + others.index(best)] if best - as_it_is >= LEAST_GAIN else words[0]


async def _rewritten(work: Task, text: str) -> str:
    """Each piece leaves as much room as it takes."""
    told = await work.budget()
    room = work.asked.get("max_tokens") or (told.left // 2 if told else 0)
    parts = list[str]()
    for piece in await fitting(work, text, room=room):
        if kept := piece.strip():
            reply = await work.ask(kept, max_tokens=room or len(kept))
            piece = piece.replace(kept, reply.text.strip(), 1)
        parts.append(piece)
    return "".join(parts)
