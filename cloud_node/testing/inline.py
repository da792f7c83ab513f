"""Keyholder and worker as coroutines beside the front, with an answer of the caller's making."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from cloud_node.node.keyholding import KeySession
from cloud_node.tree.keyholder import Keyholder
from cloud_node.tree.request import AskedFor, read_request
from cloud_node.tree.request_socket import DONE, FRAME, code_of, refuse, request_pair
from cloud_node.tree.summons import Summons
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode
from protos.lanai.v1alpha import envelope_pb2, node_pb2
from trust.envelope import AnswerSealer, OpenRequest, SealedChunk

__all__ = ["InlineKeyholding"]

CHUNK_BYTES = 70 * 1024

Frames = Callable[[AskedFor], AsyncIterator[envelope_pb2.AnswerFrame]]


class InlineKeyholding:
    """In place of ``Keyholding``. ``answer`` yields the frames, the last one with ``final``."""

    def __init__(self, keyholder: Keyholder, answer: Frames) -> None:
        self.keyholder = keyholder
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    async def keys(self, tls_spki_sha256: bytes, *, lifetime_s: int) -> KeySession:
        """See ``Keyholding.keys``. The session never ends by itself."""
        offer = self.keyholder.offer(tls_spki_sha256, lifetime_s=lifetime_s)
        return _InlineSession(self.keyholder, KeySession(offer, socket.socket()))

    def request(self, summons: Summons) -> socket.socket:
        """See ``Keyholding.request``."""
        ours, theirs = request_pair()
        ours.setblocking(False)
        theirs.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._run(summons, theirs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ours

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _run(self, summons: Summons, end: socket.socket) -> None:
        with end, suppress(OSError):
            try:
                opened = self.keyholder.admit(summons.header, summons.node_id)
                body = opened.body(await _chunks(end))
            except (EnvelopeRejected, CloudRefused) as error:
                refuse(end, code_of(error))
                return
            sending = asyncio.create_task(self._send(opened, body, end))
            gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(end, 1))
            try:
                await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, gone):
                    task.cancel()
                ended, _ = await asyncio.gather(sending, gone, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended  # a fault of the test's own answer, not to be taken for a refusal

    async def _send(self, opened: OpenRequest, body: bytes, end: socket.socket) -> None:
        loop, sealer = asyncio.get_running_loop(), opened.answer()
        nonce = node_pb2.InferResponse(server_nonce=sealer.server_nonce)
        await loop.sock_sendall(end, FRAME + nonce.SerializeToString())
        async for frame in self._frames(body):
            for response in _sealed(sealer, frame):
                await loop.sock_sendall(end, FRAME + response.SerializeToString())
        await loop.sock_sendall(end, DONE)

    async def _frames(self, body: bytes) -> AsyncIterator[envelope_pb2.AnswerFrame]:
        try:
            asked = read_request(body)
        except CloudRefused as error:
            yield envelope_pb2.AnswerFrame(failure=error.refusal.value)
            return
        async for frame in self._answer(asked):
            yield frame


class _InlineSession(KeySession):
    def __init__(self, keyholder: Keyholder, session: KeySession) -> None:
        super().__init__(session.offer, session._end)
        self._keyholder = keyholder

    async def lost(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None:
        super().close()
        self._keyholder.drop(self.offer.node_id)


def _sealed(sealer: AnswerSealer, frame: envelope_pb2.AnswerFrame) -> list[node_pb2.InferResponse]:
    chunks = sealer.seal(
        frame.SerializeToString(), last=frame.WhichOneof("kind") in ("final", "failure")
    )
    return [
        node_pb2.InferResponse(chunk=envelope_pb2.Chunk(data=chunk.data, last=chunk.last))
        for chunk in chunks
    ]


async def _chunks(end: socket.socket) -> list[SealedChunk]:
    chunks: list[SealedChunk] = []
    while not (chunks and chunks[-1].last):
        data = await asyncio.get_running_loop().sock_recv(end, CHUNK_BYTES)
        if not data:
            raise CloudRefused("no body", refusal=RefusalCode.BAD_REQUEST)
        chunks.append(SealedChunk.from_proto(envelope_pb2.Chunk.FromString(data)))
    return chunks
