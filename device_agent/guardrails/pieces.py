"""A stream of text cut into pieces of about a sentence, so that each can be looked at whole."""

import re
from typing import Final

from lanai.content import Content

__all__ = ["Pieces"]

LONGEST: Final = 240
"""Characters without the end of a sentence that are held back; then a word does."""
_END: Final = re.compile(r"[.!?…][\"'”’)\]]*\s|[。！？]|\n")


class Pieces:
    """``push`` text as it comes and take what is whole; ``rest`` at the end. Loses no character."""

    def __init__(self, *, whole: bool = False) -> None:
        """``whole``: the answer is one piece, since nobody sees it before its end."""
        self._whole = whole
        self._held = ""

    def push(self, text: str) -> Content:
        """What may be looked at now: some sentences, or nothing yet."""
        self._held += text
        if self._whole:
            return Content("")
        ends = [match.end() for match in _END.finditer(self._held)]
        return self._take(ends[-1] if ends else self._cut())

    def rest(self) -> Content:
        return self._take(len(self._held))

    def forget(self) -> None:
        """What was held back is of an answer that broke off."""
        self._held = ""

    def _cut(self) -> int:
        if len(self._held) < LONGEST:
            return 0
        return self._held.rfind(" ") + 1 or len(self._held)

    def _take(self, count: int) -> Content:
        taken, self._held = self._held[:count], self._held[count:]
        return Content(taken)
