"""The marked requests: every kind of request that a node may meet, marks in each of its texts.

| kind | what is particular |
|---|---|
| short, system, stop, stream | the plain ones; marks in instructions and in stop strings too |
| long | as much text as the node takes, a mark every few hundred characters |
| tools, schema, choices, regex | marks in names, descriptions, schemas, calls; the answer is one |
| overflow, bad_field, bad_body | refused by the worker after it was opened |
| cancelled, killed | the device goes away mid-stream; the worker is killed mid-request |
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cloud_node.audit.marks import Marks
from protos.lanai.v1alpha.envelope_pb2 import Choices, Message, RequestBody, Tool, ToolCall

__all__ = ["EXPECTED", "Kind", "MarkedRequest", "Outcome", "RequestMaker"]

LONGEST_BYTES: Final = 48 * 1024
ANSWER_TOKENS: Final = 24
STREAM_TOKENS: Final = 96
HELD_TOKENS: Final = 2048
WORDS: Final = "tide lantern harbour quiet copper meadow winter signal paper orchard".split()  # noqa: SIM905


class Kind(StrEnum):
    """What a request is there to exercise."""

    SHORT = "short"
    SYSTEM = "system"
    STOP = "stop"
    STREAM = "stream"
    LONG = "long"
    TOOLS = "tools"
    SCHEMA = "schema"
    CHOICES = "choices"
    REGEX = "regex"
    OVERFLOW = "overflow"
    BAD_FIELD = "bad_field"
    BAD_BODY = "bad_body"
    CANCELLED = "cancelled"
    HELD = "held"
    KILLED = "killed"


class Outcome(StrEnum):
    """How a request ended, as the device saw it."""

    ANSWERED = "answered"
    CANCELLED = "cancelled"
    BROKEN = "broken"
    OVERFLOW = "context_overflow"
    BAD_REQUEST = "bad_request"
    FAILED = "failed"


EXPECTED: Final[Mapping[Kind, Outcome]] = dict.fromkeys(Kind, Outcome.ANSWERED) | {
    Kind.OVERFLOW: Outcome.OVERFLOW,
    Kind.BAD_FIELD: Outcome.BAD_REQUEST,
    Kind.BAD_BODY: Outcome.BAD_REQUEST,
    Kind.CANCELLED: Outcome.CANCELLED,
    Kind.HELD: Outcome.CANCELLED,
    Kind.KILLED: Outcome.BROKEN,
}
LOAD: Final = tuple(kind for kind in Kind if kind not in (Kind.HELD, Kind.KILLED))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedRequest:
    """``body`` is a serialized ``RequestBody``, or what is to be refused as one."""

    number: int
    kind: Kind
    body: bytes = field(repr=False)
    leave_after: int | None = None
    """Cancel after so many pieces of the answer."""


class RequestMaker:
    """Makes requests for a node of so many context tokens, ``characters`` of text in most of them.

    ``seed`` gives the order of kinds and the words between marks.

    The marks are random whatever the seed: those of another run must not be found for this one's.
    """

    def __init__(self, marks: Marks, *, context_tokens: int, characters: int, seed: int) -> None:
        self._marks = marks
        self._context_tokens = context_tokens
        self._characters = characters
        self._random = random.Random(seed)  # noqa: S311  order and filling, not marks
        self._made = 0

    def load(self, count: int) -> Iterator[MarkedRequest]:
        """``count`` requests, each kind as often as any other, in random order."""
        kinds: list[Kind] = []
        while len(kinds) < count:
            kinds += self._random.sample(LOAD, len(LOAD))
        for kind in kinds[:count]:
            yield self.make(kind)

    def make(self, kind: Kind) -> MarkedRequest:
        """One request of a kind."""
        self._made += 1
        leave = 1 if kind is Kind.CANCELLED else None
        return MarkedRequest(number=self._made, kind=kind, body=self._body(kind), leave_after=leave)

    def _body(self, kind: Kind) -> bytes:
        if kind is Kind.BAD_BODY:
            return b"\xff\xff\xff" + self._mark(kind, "garbage").encode()
        body = self._plain(kind)
        match kind:
            case Kind.SYSTEM:
                body.messages.insert(0, Message(role="system", text=self._text(kind, "system")))
                body.messages.append(Message(role="assistant", text=self._text(kind, "earlier")))
                body.messages.append(Message(role="user", text=self._text(kind, "follow-up")))
            case Kind.STOP:
                body.stop.extend([self._mark(kind, "stop"), self._mark(kind, "second stop")])
            case Kind.LONG | Kind.HELD | Kind.KILLED:
                body.messages[0].text = self._filled(kind, min(self._characters, LONGEST_BYTES))
            case Kind.OVERFLOW:
                body.messages[0].text = self._filled(kind, LONGEST_BYTES)
                body.max_tokens = self._context_tokens
            case Kind.BAD_FIELD:
                body.messages.append(Message(role=self._mark(kind, "role"), text="?"))
            case Kind.TOOLS:
                self._add_tools(body)
            case Kind.SCHEMA:
                body.json_schema = self._schema(kind)
            case Kind.CHOICES:
                marks = [self._mark(kind, "choice"), self._mark(kind, "other choice")]
                body.choices.CopyFrom(Choices(choice=marks))
            case Kind.REGEX:
                body.regex = f"({self._mark(kind, 'regex')}|{self._mark(kind, 'regex')})"
        return body.SerializeToString()

    def _plain(self, kind: Kind) -> RequestBody:
        tokens = {
            Kind.STREAM: STREAM_TOKENS,
            Kind.CANCELLED: HELD_TOKENS,
            Kind.HELD: HELD_TOKENS,
            Kind.KILLED: HELD_TOKENS,
            Kind.SCHEMA: 2 * STREAM_TOKENS,
            Kind.CHOICES: STREAM_TOKENS,
            Kind.REGEX: STREAM_TOKENS,
        }
        return RequestBody(
            messages=[Message(role="user", text=self._text(kind, "user"))],
            max_tokens=min(tokens.get(kind, ANSWER_TOKENS), self._context_tokens // 4),
            temperature=1.5,
            top_p=1.0,
        )

    def _add_tools(self, body: RequestBody) -> None:
        kind, name = Kind.TOOLS, self._mark(Kind.TOOLS, "tool name")
        body.tools.append(
            Tool(
                name=name,
                description=self._text(kind, "tool description"),
                parameters=self._schema(kind),
            )
        )
        call = ToolCall(
            id="call_1", name=name, arguments=json.dumps({"q": self._mark(kind, "arguments")})
        )
        body.messages.append(Message(role="assistant", tool_calls=[call]))
        result = self._text(kind, "tool result")
        body.messages.append(Message(role="tool", text=result, tool_call_id="call_1"))

    def _schema(self, kind: Kind) -> str:
        name = self._mark(kind, "property")
        values = [self._mark(kind, "enum"), self._mark(kind, "enum")]
        schema = {
            "type": "object",
            "properties": {name: {"type": "string", "enum": values}},
            "required": [name],
            "additionalProperties": False,
        }
        return json.dumps(schema)

    def _text(self, kind: Kind, part: str) -> str:
        words = " ".join(self._random.choices(WORDS, k=6))
        return f"{words}: {self._mark(kind, part)}. What is it?"

    def _filled(self, kind: Kind, characters: int) -> str:
        paragraphs = [self._text(kind, "long text")]
        while sum(map(len, paragraphs)) < characters:
            words = " ".join(self._random.choices(WORDS, k=40))
            paragraphs.append(f"{words} {self._mark(kind, 'long text')}.\n")
        return "".join(paragraphs)[:characters]

    def _mark(self, kind: Kind, part: str) -> str:
        return self._marks.make(f"{kind}, {part}")
