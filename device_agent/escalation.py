"""One request to the cloud, with the ledger and the spans around it.

    1. Write the intent into the ledger, durably. If that fails, nothing is sent.
    2. Open the sealed stream: verify nodes, spend a token, seal, send (`device_agent.cloud`).
    3. Hand on the text as it arrives.
    4. Place the node's own timings, which came home inside the seal, under the stream's span.
    5. Write the outcome into the ledger, however it ended.

The node's clock is never compared with ours: its timings count from its receipt of the header, and
are drawn from our moment of sending, the end of our own preparation. They so appear early by the
time the header travelled, and by the first try's when the client tried twice.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from device_agent.cloud_seam import Cloud, CloudAsk, CloudFinal, CloudStream, CloudTiming
from device_agent.departure import told_of
from device_agent.disclosure import Disclosure
from device_agent.ledger import Ledger
from device_agent.reply import Ending, Receipt
from device_agent.tracing import RequestTrace, Step
from inference.engine import FinishReason
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import (
    EnvelopeRejected,
    LanaiError,
    LedgerError,
    StreamInterrupted,
    TrustError,
)
from lanai.telemetry import Attr, Span

__all__ = ["Escalation", "Leaving"]

log = logging.getLogger(__name__)

NODE_SPANS = frozenset(
    {Span.NODE_UNSEAL, Span.NODE_RENDER, Span.NODE_QUEUE, Span.NODE_PREFILL, Span.NODE_DECODE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Why a request leaves, in closed words: what the ledger keeps."""

    reason: str
    mode: str
    data_class: str


class Escalation:
    """Iterate ``pieces`` to the end, then read ``ending``."""

    def __init__(self, cloud: Cloud, ledger: Ledger, trace: RequestTrace) -> None:
        self.ending: Ending | None = None
        self._cloud = cloud
        self._ledger = ledger
        self._trace = trace
        self._stream: CloudStream | None = None
        self._unsent = False
        self._tried = False

    @property
    def opened(self) -> bool:
        """Did a sealed call leave, as far as is known, so that a token is spent?"""
        return self._stream is not None or (self._tried and not self._unsent)

    @property
    def disclosed(self) -> tuple[int, int]:
        """Bytes sent and received, as far as they are known."""
        left = self._stream.disclosure if self._stream else None
        return (left.bytes_sent, left.bytes_received) if left else (0, 0)

    async def pieces(
        self, ask: CloudAsk, leaving: Leaving, *, deadline_s: float
    ) -> AsyncGenerator[Content | ToolCall, None]:
        """What is said, as it arrives. Raises ``TrustError``, ``CloudError``, ``LedgerError``."""
        # 1. Intent.
        disclosure = await asyncio.to_thread(
            self._ledger.intend,
            id=self._trace.id,
            reason=leaving.reason,
            mode=leaving.mode,
            data_class=leaving.data_class,
            content=told_of(ask.messages),
        )
        outcome, self._tried = "cancelled", True
        try:
            # 2, 3, 4.
            with self._trace.step(Span.CLOUD) as step:
                async with aclosing(self._exchange(ask, step, deadline_s)) as pieces:
                    async for piece in pieces:
                        yield piece
            outcome = "answered"
        except LanaiError as error:
            outcome, self._unsent = error.code, _before_sending(error)
            raise
        finally:
            # 5. Outcome.
            self._conclude(disclosure, outcome)

    async def _exchange(
        self, ask: CloudAsk, step: Step, deadline_s: float
    ) -> AsyncGenerator[Content | ToolCall, None]:
        opened_ns = time.time_ns()
        async with self._cloud.open(ask, deadline_s=deadline_s) as stream:
            self._stream = stream
            for timing in stream.preparation:
                self._place(timing, step, opened_ns)
            sent_ns = opened_ns + max(map(_end_ns, stream.preparation), default=0)
            with self._trace.step(Span.CLOUD_STREAM, step, start_ns=sent_ns) as streaming:
                async for piece in stream:
                    if piece:
                        yield piece
                self._place_node(stream.final, streaming, sent_ns)
                self._finish(stream, step)

    def _finish(self, stream: CloudStream, step: Step) -> None:
        receipt = Receipt(
            node=stream.receipt.node,
            measurement=stream.receipt.measurement,
            evidence=stream.receipt.evidence,
            log_checkpoint=stream.receipt.log_checkpoint,
            shape=stream.receipt.shape,
        )
        self.ending = _ending(stream.final, receipt)
        step.set(Attr.NODE, receipt.node)
        step.set(Attr.EVIDENCE, receipt.evidence)
        step.set(Attr.MEASUREMENT, receipt.measurement)
        step.set(Attr.BYTES_SENT, stream.disclosure.bytes_sent)
        step.set(Attr.BYTES_RECEIVED, stream.disclosure.bytes_received)
        step.set(Attr.NODES_SEALED, len(stream.disclosure.nodes))

    def _place_node(self, final: CloudFinal, streaming: Step, sent_ns: int) -> None:
        """Names outside our closed list are left out: they are a node's words, not ours."""
        whole = [each for each in final.timings if each.name == Span.NODE]
        parent = self._place(whole[0], streaming, sent_ns) if whole else streaming
        for timing in final.timings:
            if timing.name in NODE_SPANS:
                self._place(timing, parent, sent_ns)

    def _place(self, timing: CloudTiming, parent: Step, zero_ns: int) -> Step:
        step = self._trace.begin(timing.name, parent, start_ns=zero_ns + timing.start_us * 1000)
        step.end(zero_ns + _end_ns(timing))
        return step

    def _conclude(self, disclosure: Disclosure, outcome: str) -> None:
        try:
            self._ledger.conclude(disclosure, outcome, **self._details())
        except LedgerError as error:
            # The intent is on disk and counts as sent; the answer is not withheld for this.
            log.warning("the outcome of a disclosure was not written: %s", error.message)

    def _details(self) -> dict[str, Any]:
        """A rejection before the stream stood means that nothing was sent; else it is not known."""
        if self._stream is None:
            return {"bytes_sent": 0, "bytes_received": 0} if self._unsent else {}
        left = self._stream.disclosure
        details: dict[str, Any] = {
            "bytes_sent": left.bytes_sent,
            "bytes_received": left.bytes_received,
            "nodes": tuple(left.nodes),
        }
        if self.ending is not None and (receipt := self.ending.receipt) is not None:
            details |= {
                "node": receipt.node,
                "measurement": receipt.measurement,
                "evidence": receipt.evidence,
                "log_checkpoint": receipt.log_checkpoint,
            }
        return details


def _before_sending(error: LanaiError) -> bool:
    """A rejection of nodes, log or tokens; a rejected envelope is an answer to something sent."""
    return isinstance(error, TrustError) and not isinstance(error, EnvelopeRejected)


def _end_ns(timing: CloudTiming) -> int:
    return (timing.start_us + timing.duration_us) * 1000


def _ending(final: CloudFinal, receipt: Receipt) -> Ending:
    decode = [t.duration_us for t in final.timings if t.name == Span.NODE_DECODE]
    try:
        finish_reason = FinishReason(final.finish_reason)
    except ValueError:
        raise StreamInterrupted("the node ended its answer in an unknown way", received=0) from None
    return Ending(
        receipt=receipt,
        model=final.model,
        finish_reason=finish_reason,
        input_tokens=final.input_tokens,
        output_tokens=final.output_tokens,
        decode_s=decode[0] / 1e6 if decode else None,
    )
