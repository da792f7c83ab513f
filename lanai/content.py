"""User content as types whose ``repr`` is their length.

Prompts, answers and token ids pass through dataclasses, exceptions and debuggers; what those print
is ``repr``. A ``Content`` is a ``str`` everywhere else, so tokenizers and templates take it as is.
"""

from collections.abc import Iterable

__all__ = ["Content", "TokenIds"]


class Content(str):
    """Text that belongs to a user. ``repr`` shows its length only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<content: {len(self)} characters>"


class TokenIds(tuple[int, ...]):
    """Token ids made from user text (content too). ``repr`` shows their number only."""

    __slots__ = ()

    def __new__(cls, ids: Iterable[int] = ()) -> "TokenIds":
        return super().__new__(cls, ids)

    def __repr__(self) -> str:
        return f"<content: {len(self)} tokens>"
