"""One node in memory: opens real envelopes, answers from a script under a real seal."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from device_agent.cloud.transport import refused
from lanai.errors import RefusalCode, TrustError
from lanai.telemetry import Span
from protos.lanai.v1alpha.envelope_pb2 import CONSTANT, AnswerFrame, Final, RequestBody, Timing
from protos.lanai.v1alpha.node_pb2 import InferResponse
from trust.certificate import NodeCertificate
from trust.envelope import (
    EnvelopeHeader,
    NodeKey,
    OpenRequest,
    SealedChunk,
    constant_total,
    frames,
    open_request,
)
from trust.testing import NodeTls

if TYPE_CHECKING:
    from device_agent.testing.cloud import Script

__all__ = ["ScriptedNode"]


class ScriptedNode:
    """Holds its key; runs what the script says."""

    def __init__(self) -> None:
        self.key = NodeKey.generate()
        self.tls: NodeTls | None = None
        self._burned: set[bytes] = set()

    def renew(self, *, now: int) -> None:
        """Have a TLS key; the first one is kept."""
        self.tls = self.tls or NodeTls.generate(now=now)

    async def answer(
        self,
        header: EnvelopeHeader,
        chunks: list[SealedChunk],
        script: "Script",
        *,
        now: float,
        seen: list[RequestBody],
    ) -> AsyncIterator[bytes]:
        """Answer payloads: the nonce, then sealed frames. The opened body is added to ``seen``."""
        request = self._open(header, now)
        body = RequestBody.FromString(request.body(chunks))
        seen.append(body)
        sealer = request.answer()
        yield InferResponse(server_nonce=sealer.server_nonce).SerializeToString()
        if script.gate is not None:
            await script.gate.wait()
        for frame, last in _shaped(list(_frames(script)), body.shape):
            for chunk in sealer.seal(frame.SerializeToString(), last):
                yield InferResponse(chunk=chunk.to_proto()).SerializeToString()

    def _open(self, header: EnvelopeHeader, now: float) -> OpenRequest:
        if header.request_id in self._burned:
            raise refused(RefusalCode.REPLAYED)
        self._burned.add(header.request_id)
        if self.tls is None:
            raise refused(RefusalCode.NO_NODE)
        spki = NodeCertificate.parse(self.tls.certificate).spki_sha256
        try:
            return open_request(header, self.key, tls_spki_sha256=spki, now=now)
        except TrustError:
            raise refused(RefusalCode.ENVELOPE_REJECTED) from None


def _shaped(said: list[tuple[AnswerFrame, bool]], shape: int) -> Iterator[tuple[AnswerFrame, bool]]:
    """With the fillers of a ``CONSTANT`` answer, if it is one; there is no clock here."""
    yield from said[:-1]
    if shape == CONSTANT:
        used = sum(len(list(frames(frame.SerializeToString()))) for frame, _ in said)
        for _ in range(constant_total(used) - used):
            yield AnswerFrame(filler=True), False
    yield said[-1]


def _frames(script: "Script") -> Iterator[tuple[AnswerFrame, bool]]:
    for piece in script.pieces:
        yield AnswerFrame(text=piece), False
    if script.failure is not None:
        yield AnswerFrame(failure=script.failure.value), True
        return
    final = Final(
        finish_reason=script.finish_reason,
        input_tokens=7,
        output_tokens=len(script.pieces),
        model=script.model,
        timings=[
            Timing(name=Span.NODE, start_us=0, duration_us=900),
            Timing(name=Span.NODE_DECODE, start_us=300, duration_us=500),
        ],
    )
    yield AnswerFrame(final=final), True
