"""What an app gives, checked where it gives it: a mistake is named there, never in our depths."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from device_agent.options import Options
from inference.text import ChatMessage
from lanai.errors import UsageError

__all__ = [
    "consent_of",
    "hook",
    "messages_of",
    "options_of",
    "refuse_unknown",
    "text_of",
    "word_of",
]

W = TypeVar("W", bound=StrEnum)
H = TypeVar("H")


def word_of(kind: type[W], given: W | str, name: str) -> W:
    """A word of a closed list. Raises ``UsageError`` with the list."""
    try:
        return kind(given)
    except ValueError:
        raise UsageError(
            f"{name} is none of the words there are", hint=f"{name}: {', '.join(kind)}"
        ) from None


def consent_of(given: bool | None) -> bool | None:
    """Raises ``UsageError`` for anything else: no word that only looks like a yes is one."""
    if given is not None and not isinstance(given, bool):
        raise UsageError("consent is neither True, False nor None", hint="None: nobody was asked")
    return given


def text_of(given: str, name: str) -> str:
    """Raises ``UsageError`` for what is no text."""
    if not isinstance(given, str):
        raise UsageError(f"{name} is no text", hint=f"{name} takes a str")
    return given


def options_of(given: Options | None) -> Options:
    """Raises ``UsageError`` for anything else."""
    if given is None:
        return Options()
    if not isinstance(given, Options):
        raise UsageError("`options` is no Options", hint="options=Options(max_tokens=…)")
    return given


def hook(given: H | None, name: str) -> H | None:
    """A function of the app's. Raises ``UsageError`` for what cannot be called."""
    if given is not None and not callable(given):
        raise UsageError(f"`{name}` is no function", hint=f"{name}=a_function, or leave it out")
    return given


def messages_of(given: Iterable[ChatMessage]) -> list[ChatMessage]:
    """Raises ``UsageError`` for what is none."""
    messages = list(given)
    if not all(isinstance(each, ChatMessage) for each in messages):
        raise UsageError(
            "a conversation is made of ChatMessage",
            hint="ChatMessage(role=…, text=…), or Transcript.from_json(…).restore(session)",
        )
    return messages


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ``TypeError``, as Python does, and says what was perhaps meant."""
    names = sorted(known)
    for name in sorted(set(given) - set(names)):
        if name in Options.__dataclass_fields__:
            raise TypeError(f"unknown keyword {name!r}; it belongs to options=Options({name}=…)")
        near = "".join(f"; did you mean {each!r}?" for each in get_close_matches(name, names, n=1))
        raise TypeError(f"unknown keyword {name!r}{near}")
