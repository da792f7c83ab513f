"""From token ids to text as they come, never showing what may still change."""

import codecs
from collections.abc import Sequence

from inference.text.vocabulary import Vocabulary

__all__ = ["TextStream", "TextWatch"]


class TextWatch:
    """Holds back text that may be the start of a stop string.

    What ``push`` and ``finish`` return, joined, is the text up to the first stop string.
    """

    def __init__(self, stop: Sequence[str] = (), *, strip_start: bool = False) -> None:
        """``strip_start`` leaves out whitespace before the first visible character."""
        self._stop = tuple(text for text in stop if text)
        self._strip_start = strip_start
        self._held = ""
        self.stopped = False
        self.after = ""
        """Once stopped: what came behind the stop string in the same push."""

    def push(self, text: str) -> str:
        """Text that is safe to show after this; may be empty."""
        if self.stopped:
            return ""
        self._held += text
        found = [(at, at + len(stop)) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            start, end = min(found)
            shown, self.after, self._held = self._held[:start], self._held[end:], ""
        else:
            end = len(self._held) - self._possible_stop()
            shown, self._held = self._held[:end], self._held[end:]
        return self._visible(shown)

    def finish(self) -> str:
        """What was held back; the text is complete."""
        held, self._held = self._held, ""
        return self._visible(held)

    def _possible_stop(self) -> int:
        """Length of the longest end of the held text that some stop string begins with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0

    def _visible(self, text: str) -> str:
        if self._strip_start and text:
            text = text.lstrip()
            self._strip_start = not text
        return text


class TextStream:
    """Incremental decoding of one answer, up to the first stop string.

    Bytes that are no UTF-8 become U+FFFD, as when decoding at once.
    """

    def __init__(
        self, vocabulary: Vocabulary, stop: Sequence[str] = (), *, strip_start: bool = False
    ) -> None:
        """``strip_start`` leaves out whitespace before the first visible character."""
        self._vocabulary = vocabulary
        self._watch = TextWatch(stop, strip_start=strip_start)
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def __repr__(self) -> str:
        return f"<text stream: {'stopped' if self.stopped else 'open'}>"

    @property
    def stopped(self) -> bool:
        return self._watch.stopped

    def push(self, token_id: int) -> str:
        """Text that is safe to show after this token; may be empty."""
        return self._watch.push(self._bytes.decode(self._vocabulary.bytes_of(token_id)))

    def finish(self) -> str:
        """What was held back; the answer is complete."""
        rest = self._watch.push(self._bytes.decode(b"", final=True))
        return rest + self._watch.finish()
