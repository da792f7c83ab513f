"""Chat completions on the wire: the body that is sent, the events that come. No sockets here."""

import json
from collections.abc import Iterator
from typing import Any, Final

from device_agent.cloud_seam import CloudAsk
from device_agent.external.seam import ExternalFinal
from inference.engine import FinishReason
from lanai.content import Content
from lanai.errors import ExternalError

__all__ = ["Answer", "body_of"]

MOST_LINE: Final = 1 << 20
MOST_BYTES: Final = 16 << 20
MOST_MODEL: Final = 128
MOST_TOKENS: Final = 1 << 31


def body_of(ask: CloudAsk, model: str) -> bytes:
    """A request for a stream, with the count of its tokens at the end."""
    sampling = ask.sampling
    document: dict[str, Any] = {
        "model": model,
        "messages": [{"role": each.role, "content": str(each.text)} for each in ask.messages],
        "max_tokens": ask.max_tokens,
        "temperature": sampling.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.top_p != 1.0:
        document["top_p"] = sampling.top_p
    if sampling.seed is not None:
        document["seed"] = sampling.seed
    if ask.stop:
        document["stop"] = [str(each) for each in ask.stop]
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


class Answer:
    """Server-sent events as they come (WHATWG HTML §9.2), read as OpenAI sends them.

    ``push`` raises ``ExternalError`` for what is too long or not of that form; ``final`` for an
    answer that ended before its end.
    """

    def __init__(self, model: str) -> None:
        self.bytes = 0
        self.done = False
        self._line = bytearray()
        self._model = model
        self._finish: FinishReason | None = None
        self._usage: tuple[int, int] = (0, 0)

    def push(self, raw: bytes) -> Iterator[Content]:
        """The text that ``raw`` completes."""
        self.bytes += len(raw)
        if self.bytes > MOST_BYTES:
            raise ExternalError("the endpoint's answer is too long")
        # Only what is new is searched: many small pieces of a long line cost no more than itself.
        *ends, rest = raw.split(b"\n")
        for end in ends:
            line = self._grown(end)
            self._line = bytearray()
            if text := self._read(line.strip()):
                yield text
        self._grown(rest)

    def _grown(self, more: bytes) -> bytearray:
        self._line += more
        if len(self._line) > MOST_LINE:
            raise ExternalError("a line of the endpoint's answer is too long")
        return self._line

    @property
    def final(self) -> ExternalFinal:
        if self._finish is None:
            raise ExternalError("the endpoint's answer broke off")
        return ExternalFinal(
            model=self._model,
            finish_reason=self._finish,
            input_tokens=self._usage[0],
            output_tokens=self._usage[1],
        )

    def _read(self, line: bytes | bytearray) -> Content | None:
        if not line.startswith(b"data:") or self.done:
            return None  # comments, event names, blank lines
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            self.done = True
            return None
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise ExternalError("the endpoint sent what is not JSON") from None
        return self._take(event)

    def _take(self, event: Any) -> Content | None:
        if not isinstance(event, dict) or "error" in event:
            raise ExternalError("the endpoint ended its answer with an error")
        if isinstance(model := event.get("model"), str) and 0 < len(model) <= MOST_MODEL:
            self._model = model
        if isinstance(usage := event.get("usage"), dict):
            self._usage = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return None
        choice = choices[0] if isinstance(choices[0], dict) else {}
        if choice.get("finish_reason") is not None:
            self._finish = _finish(choice["finish_reason"])
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        return Content(text) if isinstance(text, str) and text else None


def _finish(word: Any) -> FinishReason:
    known = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
    if not isinstance(word, str) or word not in known:
        raise ExternalError("the endpoint ended its answer in a way that is not text")
    return known[word]


def _count(usage: dict[str, Any], name: str) -> int:
    count = usage.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < MOST_TOKENS:
        return 0
    return count
