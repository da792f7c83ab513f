"""What a check is: a function of one text, that says yes or names what it is refused for."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from lanai.content import Content
from lanai.errors import Concern

__all__ = ["PASSES", "Check", "Verdict", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``concern`` ``None``: nothing against it."""

    concern: Concern | None = None


PASSES: Final = Verdict()


def refused(concern: Concern | str) -> Verdict:
    """Raises ``ValueError`` for a word that is not of the closed list."""
    return Verdict(concern=Concern(concern))


class Check(Protocol):
    """A function, plain or async. A plain one is called in a thread, and may take its time.

    What it raises is raised to the app, and the text goes nowhere: a check that fails is no yes.
    """

    def __call__(self, text: Content, /) -> Verdict | Awaitable[Verdict]: ...
