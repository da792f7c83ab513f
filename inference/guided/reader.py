"""The answer's tokens as text pieces and tool calls; half a call is never shown as text."""

import codecs
import json
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Final

from inference.text.messages import ToolCall
from inference.text.stream import TextWatch
from inference.text.tools import CALL_END, CALL_START
from inference.text.vocabulary import Vocabulary
from lanai.content import Content

__all__ = ["AnswerReader", "Piece"]

Piece = Content | ToolCall
MARKERS: Final = (CALL_START, CALL_END)


class AnswerReader:
    """Push each token; a call comes out whole, once its end was read.

    After the first call only calls count: what stands between them is left out. A small model may
    write the same call again and again: the first repetition ends the answer and is left out.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        stop: Sequence[str] = (),
        *,
        calls: bool,
        strip_start: bool = False,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """``calls`` false: markers are text like any other. ``stop`` counts in text alone."""
        self._vocabulary = vocabulary
        self._markers = marker_tokens(vocabulary) if calls else {}
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._opening = TextWatch((CALL_START,) if calls else ())
        self._shown = TextWatch(stop, strip_start=strip_start)
        self._call: TextWatch | None = None
        self._written = ""
        self._new_id = new_id or (lambda: f"call_{secrets.token_hex(8)}")
        self._seen: set[tuple[str, str]] = set()
        self.repeated = False
        self.broken = False
        """A call was begun that is none: cut off, or not of the form."""

    def __repr__(self) -> str:
        return f"<answer reader: {self.calls} calls>"

    @property
    def calls(self) -> int:
        """Whole calls so far."""
        return len(self._seen)

    @property
    def stopped(self) -> bool:
        """A stop string was met, a call that is none, or one repeated: nothing more comes."""
        return self._shown.stopped or self.broken or self.repeated

    def push(self, token_id: int) -> list[Piece]:
        """What is whole after this token."""
        marker = self._markers.get(token_id)
        data = self._vocabulary.bytes_of(token_id) if marker is None else marker
        return list(self._take(self._bytes.decode(data)))

    def finish(self) -> list[Piece]:
        """What was held back; the answer is over."""
        pieces = list(self._take(self._bytes.decode(b"", final=True)))
        if self._call is not None:
            self.broken = True
            return pieces
        return pieces + list(self._text(self._opening.finish())) + list(self._rest())

    def _take(self, text: str) -> Iterator[Piece]:
        while text and not self.stopped:
            text = yield from (self._inside(text) if self._call else self._outside(text))

    def _outside(self, text: str) -> Generator[Piece, None, str]:
        """Text up to a call; gives what follows its first marker."""
        yield from self._text(self._opening.push(text))
        if not self._opening.stopped:
            return ""
        after = self._opening.after
        self._opening, self._call = TextWatch((CALL_START,)), TextWatch((CALL_END,))
        return after

    def _inside(self, text: str) -> Generator[Piece, None, str]:
        call = self._call
        if call is None:
            return text
        self._written += call.push(text)
        if not call.stopped:
            return ""
        self._call, written, self._written = None, self._written, ""
        parsed = parse_call(written, self._new_id)
        if parsed is None:
            self.broken = True
        elif (parsed.name, parsed.arguments) in self._seen:
            self.repeated = True
        else:
            yield from self._rest()
            self._seen.add((parsed.name, parsed.arguments))
            yield parsed
        return call.after

    def _text(self, text: str) -> Iterator[Content]:
        shown = "" if self.calls else self._shown.push(text)
        if shown:
            yield Content(shown)

    def _rest(self) -> Iterator[Content]:
        if shown := "" if self.calls else self._shown.finish():
            yield Content(shown)


def parse_call(written: str, new_id: Callable[[], str]) -> ToolCall | None:
    """The call between two markers; ``None`` when it is not of the form."""
    try:
        call = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
        return None
    name, arguments = call["name"], call["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    text = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=new_id(), name=name, arguments=Content(text))


def marker_tokens(vocabulary: Vocabulary) -> Mapping[int, bytes]:
    """The markers that are tokens of their own, as the text they stand for."""
    control = vocabulary.control
    return {control[marker]: marker.encode() for marker in MARKERS if marker in control}
