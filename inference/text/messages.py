"""One message of a conversation, and a rendered prompt as parts of known origin."""

from dataclasses import dataclass

from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["ROLES", "ChatMessage", "Part", "ToolCall"]

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the model asked for. ``id`` is unique in its conversation.

    ``arguments`` is a JSON object as text, as the tool's schema wants it.
    """

    id: str
    name: str
    arguments: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """``role`` is ``system``, ``user``, ``assistant`` or ``tool``.

    An assistant's message may hold calls; a tool's message names the call it answers. Raises
    ``UsageError`` for another role, or calls where none belong.
    """

    role: str
    text: Content
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UsageError("a message's role is unknown", hint="roles: " + ", ".join(ROLES))
        if self.tool_calls and self.role != "assistant":
            raise UsageError("only an assistant's message holds tool calls")
        if bool(self.tool_call_id) != (self.role == "tool"):
            raise UsageError("a tool's message, and no other, names the call it answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a prompt. Control tokens are looked for in ``trusted`` parts only."""

    text: Content
    trusted: bool
