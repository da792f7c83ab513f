"""How a pull tells how far it is."""

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called often; must return at once."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """``step``: one word, such as ``download``. ``done`` of ``total`` bytes; 0: unknown."""


def silent(step: str, done: int, total: int) -> None:
    """The ``Progress`` of callers that do not care."""
