"""The worker: one process, one request. Its text exists here, while it runs, and nowhere else.

1. The secret comes from the keyholder's pipe; with the header it opens the request.
2. The sealed body comes from the front and is opened; a refusal up to here is told in the clear.
3. The answer's nonce goes out; from here on failures travel inside the seal.
4. Text becomes ids, the engine is asked, ids become text again, frames leave when they are due.
5. The last frame says how it ended. The process ends, and the kernel takes all of its memory.

Blocking and single-threaded: a worker is forked, and waits for two sockets at most.
"""

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from cloud_node.tree.answering import Answering, failure_code
from cloud_node.tree.doors import Message, close_all
from cloud_node.tree.outlet import FrontLeft, Outlet
from cloud_node.tree.request import read_request
from cloud_node.tree.request_socket import code_of, refuse
from cloud_node.tree.summons import Summons
from cloud_node.tree.timeline import Timeline
from inference.dialogue import parse_info
from inference.guided import Guide
from inference.link import EngineLink
from inference.text import TextModel
from inference.wire import Message as EngineMessage
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, Rejection
from lanai.telemetry import Span
from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import MAX_CHUNKS, OpenRequest, SealedChunk

__all__ = ["Room", "Worker", "work"]

SECRET_BYTES: Final = 64
MAX_CHUNK_MESSAGE_BYTES: Final = 66 * 1024
BODY_S: Final = 20.0
"""For the secret and the whole body. The front has less patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What every worker finds warm."""

    text: TextModel
    model: str
    context_tokens: int
    timeout_s: float
    guide: Guide | None = None
    """Made with ``text``, before any fork; else each request with a form makes its own."""


class Worker:
    """Runs one request. ``request`` and ``engine`` are its own; it closes neither."""

    def __init__(
        self,
        room: Room,
        summons: Summons,
        request: socket.socket,
        engine: EngineLink,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._room = room
        self._summons = summons
        self._request = request
        self._engine = engine
        self._clock = clock
        self._timeline = Timeline(zero=summons.received, clock=clock)

    def run(self, secret: int) -> None:
        """The plan above. ``secret`` is the read end of the keyholder's pipe. Raises nothing."""
        try:
            opened, body = self._open(secret)
        except (EnvelopeRejected, CloudRefused) as error:
            refuse(self._request, code_of(error))
        except OSError:  # the body was late, or the front is gone
            pass
        except Exception:  # noqa: BLE001  whatever it was, its text stays in here
            refuse(self._request, RefusalCode.INTERNAL)
        else:
            self._answer(opened, body)

    def _open(self, secret: int) -> tuple[OpenRequest, bytes]:
        # 1.
        header, node_id = self._summons.header, self._summons.node_id
        opened = OpenRequest.from_secret(header, os.read(secret, SECRET_BYTES), node_id=node_id)
        # 2.
        body = opened.body(self._chunks())
        handed = self._summons.handed
        self._timeline.add(
            Span.NODE_UNSEAL, handed - self._summons.received, self._clock() - handed
        )
        return opened, body

    def _chunks(self) -> list[SealedChunk]:
        self._request.settimeout(BODY_S)
        chunks: list[SealedChunk] = []
        while len(chunks) < MAX_CHUNKS:
            data = self._request.recv(MAX_CHUNK_MESSAGE_BYTES)
            if not data:
                raise FrontLeft
            chunks.append(_chunk(data))
            if chunks[-1].last:
                return chunks
        raise CloudRefused("too many chunks", refusal=RefusalCode.TOO_LARGE)

    def _answer(self, opened: OpenRequest, body: bytes) -> None:
        outlet = Outlet(
            self._request,
            opened.answer(),
            begun=self._summons.received,
            deadline=self._clock() + self._room.timeout_s,
            clock=self._clock,
        )
        try:
            # 3.
            outlet.begin()
            # 4.
            code = self._attempt(outlet, body)
            # 5.
            outlet.finish(code)
        except OSError:  # the device or the front is gone, and the rest is for nobody
            pass

    def _attempt(self, outlet: Outlet, body: bytes) -> RefusalCode | None:
        try:
            self._generate(outlet, body)
        except FrontLeft:
            raise
        except Exception as error:  # noqa: BLE001  whatever it was, its text stays in here
            code = failure_code(error)
            outlet.add(envelope_pb2.AnswerFrame(failure=code.value), last=True)
            return code
        return None

    def _generate(self, outlet: Outlet, body: bytes) -> None:
        asked = read_request(body)
        outlet.shape(asked.shape)
        answering = Answering(
            self._room.text,
            asked,
            self._timeline,
            model=self._room.model,
            context_tokens=self._room.context_tokens,
            guide=self._room.guide,
        )
        ids = answering.start(self._engine.vocabulary)
        self._engine.submit(ids, answering.options, answering.constraint)
        while not answering.finished:
            outlet.wait(self._engine)
            for event in self._engine.events(timeout_s=0.0):
                for frame in answering.take(event):
                    outlet.add(frame, last=frame.HasField("final"))
                if answering.finished:
                    break


def work(room: Room, message: Message, descriptors: list[int]) -> None:
    """Run the request that came with these: its socket, its secret's pipe, its engine's link."""
    with ExitStack() as held:
        held.callback(close_all, descriptors)
        if len(descriptors) != 3:
            return
        request, secret, link = descriptors
        front = held.enter_context(socket.socket(fileno=os.dup(request)))
        info = parse_info(EngineMessage(kind="ready", fields=message["engine"]))
        engine = held.enter_context(closing(EngineLink(socket.socket(fileno=os.dup(link)), info)))
        try:
            summons = Summons.parse(message)
        except EnvelopeRejected as error:
            refuse(front, code_of(error))
            return
        Worker(room, summons, front, engine).run(secret)


def _chunk(data: bytes) -> SealedChunk:
    try:
        return SealedChunk.from_proto(envelope_pb2.Chunk.FromString(data))
    except DecodeError:
        raise _malformed() from None


def _malformed() -> EnvelopeRejected:
    return EnvelopeRejected("not of this protocol", reason=Rejection.MALFORMED)
