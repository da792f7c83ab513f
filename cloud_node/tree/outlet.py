"""The way out of a worker: frames, shaped, sealed and sent when they are due."""

import select
import socket
from collections.abc import Callable
from typing import Final, Protocol

from cloud_node.tree.request_socket import DONE, FRAME
from cloud_node.tree.shaping import Shaper, shaper_of
from lanai.errors import RefusalCode
from protos.lanai.v1alpha import envelope_pb2, node_pb2
from trust.envelope import AnswerSealer

__all__ = ["FrontLeft", "Outlet"]

GRACE_S: Final = 10.0
"""Past the deadline, for the frames that say so. A slower front is given up."""
MILLISECONDS: Final = 1000


class FrontLeft(ConnectionError):
    """The front is gone, and with it the device."""


class _Readable(Protocol):
    def fileno(self) -> int: ...


class Outlet:
    """Every call may raise ``OSError``: the front is gone, or too slow. ``clock`` in seconds.

    ``begun`` is when the request came: the clock of a constant stream starts there.
    """

    def __init__(
        self,
        request: socket.socket,
        sealer: AnswerSealer,
        *,
        begun: float,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self._request = request
        self._sealer = sealer
        self._begun = begun
        self._deadline = deadline
        self._clock = clock
        self._shaper: Shaper = shaper_of(envelope_pb2.PADDED, now=begun)

    def begin(self) -> None:
        """Send the nonce, in the clear."""
        self._send(node_pb2.InferResponse(server_nonce=self._sealer.server_nonce))

    def shape(self, shape: int) -> None:
        """Shape the answer so (``envelope_pb2.Shape``). Called before anything is added."""
        self._shaper = shaper_of(shape, now=self._begun)

    def add(self, frame: envelope_pb2.AnswerFrame, *, last: bool) -> None:
        """Have ``frame`` leave when it is due."""
        self._shaper.add(frame, last=last)
        self._send_due()

    def wait(self, source: _Readable) -> None:
        """Until ``source`` can be read; meanwhile send what falls due.

        Raises ``TimeoutError`` at the request's deadline, ``FrontLeft``.
        """
        while True:
            self._send_due()
            left = self._deadline - self._clock()
            if left <= 0:
                raise TimeoutError
            due = self._shaper.next_due(self._clock())
            ready = _poll((self._request, source), left if due is None else min(left, due))
            if self._request.fileno() in ready:
                raise FrontLeft
            if source.fileno() in ready:
                return

    def finish(self, code: RefusalCode | None) -> None:
        """Send the rest, each frame in its time, and how it ended."""
        while (due := self._shaper.next_due(self._clock())) is not None:
            if _poll((self._request,), due):
                raise FrontLeft
            self._send_due()
        self._request.send(DONE + (code.value.encode() if code else b""))

    def _send_due(self) -> None:
        for frame, last in self._shaper.due(self._clock()):
            chunk = self._sealer.seal_frame(frame, last=last)
            sealed = envelope_pb2.Chunk(data=chunk.data, last=chunk.last)
            self._send(node_pb2.InferResponse(chunk=sealed))

    def _send(self, response: node_pb2.InferResponse) -> None:
        self._request.settimeout(max(self._deadline - self._clock(), 0.0) + GRACE_S)
        self._request.send(FRAME + response.SerializeToString())


def _poll(sources: tuple[_Readable, ...], timeout_s: float) -> set[int]:
    """Descriptors that can be read, or are closed at the other end."""
    poll = select.poll()
    for source in sources:
        poll.register(source.fileno(), select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(max(timeout_s, 0.0) * MILLISECONDS)}
