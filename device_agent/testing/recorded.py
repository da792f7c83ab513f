"""A cloud's answers, recorded once and played to an app's tests ever after.

    agent, recording = record(AsyncAgent.from_config())      # once, with a real cluster
    async with agent:
        await agent.session(mode="only_in_cloud").respond("Why is the sea salty?")
    recording.save(Path("tests/sea.json"))

    cloud = RecordedCloud.load(Path("tests/sea.json"))       # in tests
    agent = FakeAgent(tmp_path, ["a short answer"], cloud=cloud)

A recording holds the answers in the clear, so record what may be read by whoever reads the tests.
Of a request it holds the digest alone: one that differs in any field is not played an answer.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from device_agent.agent import AsyncAgent
from device_agent.cloud.request import encode_body
from device_agent.cloud.values import CloudFinal, CloudStatus, Disclosure, Receipt, Timing
from device_agent.cloud_seam import (
    Cloud,
    CloudAsk,
    CloudDisclosure,
    CloudReceipt,
    CloudStream,
    CloudTiming,
)
from device_agent.cloud_seam import CloudFinal as SeenFinal
from device_agent.enrolled import EnrolledCloud
from device_agent.private_file import write_private
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import LanaiError, UsageError

__all__ = ["RecordedCloud", "Recording", "record"]

Value = TypeVar("Value", Timing, Receipt, CloudStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A tool call, as plain text."""

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One whole answer. ``request``: hex SHA-256 of the request's body."""

    request: str
    pieces: tuple[str | Called, ...] = field(repr=False)
    preparation: tuple[Timing, ...]
    final: CloudFinal
    receipt: Receipt
    disclosure: Disclosure

    async def __aiter__(self) -> AsyncIterator[Content | ToolCall]:
        """As `CloudStream`."""
        for piece in self.pieces:
            yield _played(piece)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The file."""

    version: Literal[1] = 1
    status: CloudStatus
    exchanges: tuple[Exchange, ...]


class Recording:
    """A `Cloud` in front of a real one. Answers that break off are not recorded."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._status: CloudStatus | None = None
        self._exchanges: list[Exchange] = []

    async def status(self) -> CloudStatus:
        seen = await self._cloud.status()
        self._status = _copied(CloudStatus, seen)
        return self._status

    @asynccontextmanager
    async def open(self, ask: CloudAsk, *, deadline_s: float) -> AsyncIterator[CloudStream]:
        async with self._cloud.open(ask, deadline_s=deadline_s) as stream:
            copying = _Copying(stream)
            yield copying
        if copying.whole:
            self._exchanges.append(_exchange(ask, stream, copying.pieces))

    async def close(self) -> None:
        await self._cloud.close()

    def save(self, path: Path) -> None:
        """Raises ``UsageError`` when nothing was recorded, or the file cannot be written."""
        if self._status is None or not self._exchanges:
            raise UsageError("nothing was recorded", hint="no answer came whole from the cloud")
        recorded = Recorded(status=self._status, exchanges=tuple(self._exchanges))
        write_private(path, _FILE.dump_json(recorded, indent=2).decode() + "\n")


class RecordedCloud:
    """A `Cloud` that plays a recording. Set ``error`` to have requests refused with it."""

    def __init__(self, recorded: Recorded) -> None:
        self.error: LanaiError | None = None
        self.played: list[str] = []
        """Digests of the requests that were played an answer, in order."""
        self._recorded = recorded

    @classmethod
    def load(cls, path: Path) -> "RecordedCloud":
        """Raises ``UsageError`` for a file that is no recording."""
        try:
            return cls(_FILE.validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            raise UsageError(f"{path} is no recording", hint="record it again") from None

    async def status(self) -> CloudStatus:
        return self._recorded.status

    def open(self, ask: CloudAsk, *, deadline_s: float) -> AbstractAsyncContextManager[CloudStream]:
        """Raises ``UsageError`` for a request that was not recorded."""
        return self._open(ask)

    @asynccontextmanager
    async def _open(self, ask: CloudAsk) -> AsyncIterator[CloudStream]:
        if self.error is not None:
            raise self.error
        request = _digest(ask)
        found = [each for each in self._recorded.exchanges if each.request == request]
        if not found:
            raise UsageError(
                "this request was not recorded", hint="record again: it differs in some field"
            )
        self.played.append(request)
        yield found[0]

    async def close(self) -> None:
        """Nothing is open."""


def record(agent: AsyncAgent) -> tuple[AsyncAgent, Recording]:
    """The same agent with a recording in front of its cloud. Raises why it has no cloud."""
    recording = Recording(agent._runtime.cloud.client)
    runtime = replace(agent._runtime, cloud=EnrolledCloud(recording))
    return AsyncAgent(runtime, agent._settings), recording


class _Copying:
    """A stream that keeps what it hands on."""

    def __init__(self, stream: CloudStream) -> None:
        self.pieces: list[Content | ToolCall] = []
        self.whole = False
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[Content | ToolCall]:
        async for piece in self._stream:
            self.pieces.append(piece)
            yield piece
        self.whole = True

    @property
    def preparation(self) -> Sequence[CloudTiming]:
        return self._stream.preparation

    @property
    def final(self) -> SeenFinal:
        return self._stream.final

    @property
    def receipt(self) -> CloudReceipt:
        return self._stream.receipt

    @property
    def disclosure(self) -> CloudDisclosure:
        return self._stream.disclosure


_FILE: Final = TypeAdapter(Recorded)


def _exchange(ask: CloudAsk, stream: CloudStream, pieces: Sequence[Content | ToolCall]) -> Exchange:
    final, left = stream.final, stream.disclosure
    return Exchange(
        request=_digest(ask),
        pieces=tuple(map(_kept, pieces)),
        preparation=_timings(stream.preparation),
        final=CloudFinal(
            finish_reason=final.finish_reason,
            input_tokens=final.input_tokens,
            output_tokens=final.output_tokens,
            model=final.model,
            timings=_timings(final.timings),
        ),
        receipt=_copied(Receipt, stream.receipt),
        disclosure=Disclosure(
            bytes_sent=left.bytes_sent,
            bytes_received=left.bytes_received,
            nodes=tuple(left.nodes),
        ),
    )


def _digest(ask: CloudAsk) -> str:
    return hashlib.sha256(encode_body(ask)).hexdigest()


def _kept(piece: Content | ToolCall) -> str | Called:
    if isinstance(piece, ToolCall):
        return Called(id=piece.id, name=piece.name, arguments=str(piece.arguments))
    return str(piece)


def _played(piece: str | Called) -> Content | ToolCall:
    if isinstance(piece, Called):
        return ToolCall(id=piece.id, name=piece.name, arguments=Content(piece.arguments))
    return Content(piece)


def _timings(seen: Sequence[CloudTiming]) -> tuple[Timing, ...]:
    return tuple(_copied(Timing, each) for each in seen)


def _copied(kind: type[Value], seen: object) -> Value:
    """The same fields, from anything that has them."""
    return kind(**{each.name: getattr(seen, each.name) for each in fields(kind)})
