"""Notifications in the order in which a person would want to see them, each with its reason.

1. Of each, ask what it is, among the reasons: the request that is routed.
2. Where the device answered, judge by likelihood instead: is the text likeliest from somebody the
   user knows, a service, or a seller? Whether it asks for something, its words tell better than a
   small model: a question mark, or a request in English.
3. Order by reason, then by how much likelier a person wrote it.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Unpack

from device_agent.features.asking import Featured, Task, Where, task
from device_agent.features.likelihood import Said
from device_agent.features.result import Result
from inference.guided import Choices
from lanai.errors import UsageError
from router.vocabulary import Destination

__all__ = ["Notification", "Prioritized", "Priority", "Ranked", "prioritize"]


class Priority(StrEnum):
    """Why a notification stands where it does; from first to last."""

    ASKS = "asks"
    """Somebody wants something of the user."""
    PERSONAL = "personal"
    """Somebody the user knows tells something."""
    NOTICE = "notice"
    """A service tells something."""
    PROMOTION = "promotion"
    """Somebody sells something."""


INSTRUCTIONS: Final = (
    "Say what the notification is. asks: somebody wants something of the user. personal: somebody "
    "the user knows writes. notice: a service tells something. promotion: somebody sells something."
)
WRITES: Final[dict[Priority, tuple[str, ...]]] = {
    Priority.PERSONAL: ("Write a message from a friend.", "Write a message from a colleague."),
    Priority.NOTICE: ("Write an automatic notice from a service.",),
    Priority.PROMOTION: ("Write a promotion.", "Write an advertisement."),
}
RATHER: Final = 0.2
"""Nats a token by which a notice has to be likelier than a message: of two mistakes, the one that
hides a person is the worse. Chosen on 95 texts that `lanai bench features` does not hold."""
MAX_NOTIFICATIONS: Final = 64
_REQUEST: Final = re.compile(
    r"\?|\b(?:please|(?:can|could|would|will) you|let me know|(?:i|we) need|need you to|"
    r"(?:send|call|tell) me|get back to (?:me|us))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """``sender``: a person or an app, as the user is shown it."""

    text: str = field(repr=False)
    sender: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """``index``: of the notification in what was given. ``score``: higher is more pressing, within
    one result; nats a token where the device judged, ``None`` where the cloud did."""

    index: int
    notification: Notification = field(repr=False)
    reason: Priority
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prioritized(Result):
    """``ranked``: all that were given, most pressing first. No replies where none were."""

    ranked: tuple[Ranked, ...]


async def prioritize(
    where: Where, notifications: Iterable[Notification | str], **asked: Unpack[Featured]
) -> Prioritized:
    """One request each. Raises ``UsageError`` for an empty one or over 64, and as ``respond``."""
    given = [Notification(text=n) if isinstance(n, str) else n for n in notifications]
    if len(given) > MAX_NOTIFICATIONS or not all(each.text.strip() for each in given):
        raise UsageError(
            "a notification is empty, or there are too many",
            hint=f"at most {MAX_NOTIFICATIONS}, each with a text",
        )
    work = task(where, "prioritize", INSTRUCTIONS, asked)
    ranked = [await _ranked(work, index, each) for index, each in enumerate(given)]
    # 3. Order.
    ranked.sort(key=_place)
    return Prioritized(ranked=tuple(ranked), replies=tuple(work.replies))


async def _ranked(work: Task, index: int, notification: Notification) -> Ranked:
    text = notification.text.strip()
    # 1. Ask.
    prompt = f"{notification.sender}: {text}" if notification.sender else text
    reply = await work.ask(prompt, into=Choices(options=tuple(Priority)), max_tokens=8)
    reason, score = Priority(str(reply.value)), None
    # 2. Judge.
    if reply.source is Destination.DEVICE:
        reason, score = await _judged(work, text)
    return Ranked(index=index, notification=notification, reason=reason, score=score)


async def _judged(work: Task, text: str) -> tuple[Priority, float]:
    """The reason, and by how much it is likelier that a person wrote it than a seller."""
    asked = [(reason, prompt) for reason, prompts in WRITES.items() for prompt in prompts]
    seen = await work.likelihoods([Said(prompt=prompt, text=text) for _, prompt in asked])
    by = dict.fromkeys(WRITES, -math.inf)
    for (reason, _), each in zip(asked, seen, strict=True):
        by[reason] = max(by[reason], each.mean)
    score = by[Priority.PERSONAL] - by[Priority.PROMOTION]
    by[Priority.NOTICE] -= RATHER
    reason = max(by, key=by.__getitem__)
    # Sellers ask too; what they ask for can wait.
    if reason is not Priority.PROMOTION and _REQUEST.search(text):
        reason = Priority.ASKS
    return reason, score


def _place(ranked: Ranked) -> tuple[int, float]:
    return list(Priority).index(ranked.reason), -(ranked.score or 0.0)
