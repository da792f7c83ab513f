"""A conversation as a value the app may keep: JSON, versioned, in the user's hands.

Lanai stores none itself. What is saved is content: where it goes, and who reads it, is the app's.

    saved = Transcript.of(session).to_json()
    Transcript.from_json(saved).restore(session)
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from inference.text import ChatMessage
from inference.text.messages import ToolCall
from lanai.content import Content
from lanai.errors import UsageError
from router.vocabulary import DataClass

__all__ = ["Transcript"]

VERSION: Final = 1
KEYS: Final = frozenset({"version", "data_class", "messages"})
MAX_CHARACTERS: Final = 16 * 1024 * 1024
MAX_MESSAGES: Final = 10_000


class AnySession(Protocol):
    """A session, of either face."""

    @property
    def transcript(self) -> tuple[ChatMessage, ...]: ...
    @property
    def held_class(self) -> DataClass: ...
    def restore(
        self, messages: Iterable[ChatMessage], *, data_class: DataClass | str = ...
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Messages in order, instructions first where there are any.

    ``data_class``: the most private of the session and of what its tools returned, so that a
    saved and restored conversation stays where it had to stay.
    """

    messages: tuple[ChatMessage, ...] = field(default=(), repr=False)
    data_class: DataClass = DataClass.PERSONAL

    @classmethod
    def of(cls, session: AnySession) -> "Transcript":
        """What was said in the session so far."""
        return cls(messages=session.transcript, data_class=session.held_class)

    def restore(self, session: AnySession) -> None:
        """Have the session go on from here. Raises ``UsageError`` while it answers."""
        session.restore(self.messages, data_class=self.data_class)

    def to_json(self) -> str:
        """One document: ``version``, ``data_class`` and ``messages``."""
        document = {
            "version": VERSION,
            "data_class": self.data_class.value,
            "messages": [_plain(each) for each in self.messages],
        }
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Transcript":
        """The exact inverse. Raises ``UsageError``, naming no word of the text."""
        if len(text) > MAX_CHARACTERS:
            raise _malformed(f"over {MAX_CHARACTERS:,} characters")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise _malformed("no JSON") from None
        if not isinstance(document, dict) or set(document) != KEYS:
            raise _malformed("its keys are not " + ", ".join(sorted(KEYS)))
        if document["version"] != VERSION:
            raise _malformed(f"its version is not {VERSION}", hint="update lanai")
        return cls(
            messages=tuple(_messages(document["messages"])),
            data_class=_data_class(document["data_class"]),
        )


def _plain(message: ChatMessage) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "text": str(message.text)}
    if message.tool_calls:
        plain["tool_calls"] = [_plain_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def _plain_call(call: ToolCall) -> dict[str, str]:
    return {"id": call.id, "name": call.name, "arguments": str(call.arguments)}


def _data_class(value: object) -> DataClass:
    if not isinstance(value, str) or value not in set(DataClass):
        raise _malformed("its data_class is none")
    return DataClass(value)


def _messages(value: object) -> Iterable[ChatMessage]:
    if not isinstance(value, list) or len(value) > MAX_MESSAGES:
        raise _malformed(f"no list of at most {MAX_MESSAGES:,} messages")
    return map(_message, value)


def _message(value: object) -> ChatMessage:
    fields = _fields(value, needed={"role", "text"}, allowed={"tool_calls", "tool_call_id"})
    calls = fields.get("tool_calls", [])
    if not isinstance(calls, list):
        raise _malformed("tool_calls is no list")
    return ChatMessage(
        role=_text(fields, "role"),
        text=Content(_text(fields, "text")),
        tool_calls=tuple(map(_call, calls)),
        tool_call_id=_text(fields, "tool_call_id") if "tool_call_id" in fields else "",
    )


def _call(value: object) -> ToolCall:
    fields = _fields(value, needed={"id", "name", "arguments"}, allowed=set())
    return ToolCall(
        id=_text(fields, "id"),
        name=_text(fields, "name"),
        arguments=Content(_text(fields, "arguments")),
    )


def _fields(value: object, *, needed: set[str], allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or not needed <= set(value) <= needed | allowed:
        raise _malformed("a message has other keys than it should")
    return value


def _text(fields: dict[str, Any], key: str) -> str:
    if not isinstance(fields[key], str):
        raise _malformed(f"{key} is no text")
    return str(fields[key])


def _malformed(what: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"this is no saved transcript: {what}", hint=hint)
