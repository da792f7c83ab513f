"""One message of a conversation, and a rendered prompt as parts of known origin."""

from dataclasses import dataclass

from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["ROLES", "ChatMessage", "Part"]

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """``role`` is ``system``, ``user`` or ``assistant``. Raises ``UsageError`` for another."""

    role: str
    text: Content

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UsageError("a message's role is unknown", hint="roles: " + ", ".join(ROLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a prompt. Control tokens are looked for in ``trusted`` parts only."""

    text: Content
    trusted: bool
