"""The worker: one process, one request. Its text exists here, while it runs, and nowhere else.

1. The secret comes from the keyholder's pipe; with the header it opens the request.
2. The sealed body comes from the front and is opened; a refusal up to here is told in the clear.
3. The answer's nonce goes out; from here on failures travel inside the seal.
4. Text becomes ids, the engine is asked, ids become text again, frames leave when they are due.
5. The last frame says how it ended. The process ends, and the kernel takes all of its memory.

Blocking and single-threaded: a worker is forked, and waits for two sockets at most.
"""

import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from cloud_node.tree.answering import Answering, failure_code
from cloud_node.tree.request import read_request
from cloud_node.tree.request_socket import DONE, FRAME, code_of, refuse
from cloud_node.tree.shaping import Shaper, shaper_of
from cloud_node.tree.timeline import Timeline
from inference.link import EngineLink
from inference.text import TextModel
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode
from lanai.telemetry import Span
from protos.lanai.v1alpha import envelope_pb2, node_pb2
from trust.envelope import MAX_CHUNKS, EnvelopeHeader, OpenRequest, SealedChunk

__all__ = ["Room", "Summons", "Worker"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Summons:
    """What a worker is told in the clear. Times are of ``time.perf_counter``."""

    header: EnvelopeHeader
    node_id: bytes
    received: float
    """When the header came."""
    handed: float
    """When the front passed the request on."""

    def to_message(self) -> dict[str, Any]:
        return {
            "header": self.header.to_proto().SerializeToString(),
            "node_id": self.node_id,
            "received": self.received,
            "handed": self.handed,
        }

    @classmethod
    def parse(cls, message: dict[str, Any]) -> "Summons":
        """Raises ``EnvelopeRejected`` for a malformed header."""
        header = envelope_pb2.EnvelopeHeader.FromString(message["header"])
        return cls(
            header=EnvelopeHeader.from_proto(header),
            node_id=message["node_id"],
            received=message["received"],
            handed=message["handed"],
        )


class _Left(Exception):
    """The front is gone, and the device with it."""


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
        except (_Left, OSError):  # OSError: the body was late, or the front is gone
            pass
        except Exception:  # noqa: BLE001  its text stays in here
            refuse(self._request, RefusalCode.INTERNAL)
        else:
            self._answer(opened, body)

    def _open(self, secret: int) -> tuple[OpenRequest, bytes]:
        # 1.
        self._request.settimeout(BODY_S)
        opened = OpenRequest.from_secret(
            self._summons.header, _read_secret(secret), node_id=self._summons.node_id
        )
        # 2.
        body = opened.body(self._chunks())
        self._timeline.add(Span.NODE_UNSEAL, *self._since_handed())
        return opened, body

    def _chunks(self) -> list[SealedChunk]:
        chunks: list[SealedChunk] = []
        while len(chunks) < MAX_CHUNKS:
            data = self._request.recv(MAX_CHUNK_MESSAGE_BYTES)
            if not data:
                raise _Left
            chunks.append(_chunk(data))
            if chunks[-1].last:
                return chunks
        raise CloudRefused("too many chunks", refusal=RefusalCode.TOO_LARGE)

    def _answer(self, opened: OpenRequest, body: bytes) -> None:
        # 3.
        sealer = opened.answer()
        out = _Out(self._request, sealer, deadline=self._clock() + self._room.timeout_s)
        ended = ""
        try:
            out.begin()
            # 4.
            asked = read_request(body)
            out.shaper = shaper_of(asked.shape)
            answering = Answering(self._room.text, asked, self._timeline, model=self._room.model)
            self._run(answering, out)
        except (_Left, BrokenPipeError, ConnectionError):
            return
        except Exception as error:  # noqa: BLE001  whatever it was, its text stays in here
            ended = failure_code(error).value
            out.shaper.add(envelope_pb2.AnswerFrame(failure=ended), last=True)
        # 5.
        try:
            out.drain(self._clock)
            self._request.send(DONE + ended.encode())
        except (_Left, OSError):
            return
