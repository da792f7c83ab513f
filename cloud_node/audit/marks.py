"""Marks: random words that are put into requests and looked for afterwards.

    mark = 12 letters of its own ‖ 40 letters common to the run ‖ 12 letters of its own

The common part makes one needle of each form find every mark of a run, however many there are. It
stands in the middle, since freed memory loses its first bytes to the allocator. The letters of its
own (2^112 possibilities) tell which mark was found. Lower-case letters only: no form of escaping
changes them.
"""

import secrets
import string
from collections.abc import Callable, Sequence
from typing import Final

from lanai.content import Content, TokenIds
from lanai.errors import AuditError

__all__ = ["COMMON", "OWN", "STABLE_IDS", "Marks", "stable_run"]

OWN: Final = 12
COMMON: Final = 40
STABLE_IDS: Final = 12
"""Fewest consecutive token ids that every mark must share."""
TRIES: Final = 20
BESIDE: Final = ("", "\n", " ", '"', "a ", ": ", "(", "<|", "5", "é ", "、", "\t")
"""What may stand before and after a mark."""


class Marks:
    """The marks of one run. ``repr`` shows their number only."""

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        """``encode`` is the tokenizer of the model under audit.

        Raises ``AuditError`` when it gives no stable ids to random letters.
        """
        self._labels: dict[str, str] = {}
        for _ in range(TRIES):
            self.common = Content(_letters(COMMON))
            self.ids = TokenIds(stable_run([encode(text) for text in self._samples()]))
            if len(self.ids) >= STABLE_IDS:
                return
        raise AuditError(
            "this model's tokenizer gives the same letters other ids each time",
            hint="the audit needs a tokenizer whose ids depend on nearby text only",
        )

    def make(self, label: str) -> Content:
        """A new mark; ``label`` says in which request and field it is to stand."""
        head, tail = _letters(OWN), _letters(OWN)
        self._labels[head] = self._labels[tail] = label
        return Content(head + self.common + tail)

    def label(self, *beside: str) -> str | None:
        """Which mark was found, by letters that stood beside its common part."""
        return next((self._labels[own] for own in beside if own in self._labels), None)

    def _samples(self) -> list[str]:
        return [f"{beside}{_letters(OWN)}{self.common}{_letters(OWN)}{beside}" for beside in BESIDE]

    def __repr__(self) -> str:
        return f"Marks({len(self._labels) // 2})"


def stable_run(sequences: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The longest run of token ids that stands in every one of ``sequences``.

    Ids of the common part depend on what is beside it, but only near its ends.
    """
    first, *others = map(_packed, sequences)
    best = ""
    for start in range(len(first)):
        end = start + len(best) + 1
        while end <= len(first) and all(first[start:end] in other for other in others):
            best = first[start:end]
            end += 1
    return tuple(map(ord, best))


def _packed(ids: Sequence[int]) -> str:
    # One character for each id: substring search then compares whole ids.
    return "".join(map(chr, ids))


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(count))
