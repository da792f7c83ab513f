"""One request's side outside.

1. Redact, and ask the app: what would leave, where to, how many bytes, of which class. Without
   an ``approve`` that says yes nothing leaves.
2. Check once more what leaves (``Outgoing``).
3. Write the intent into the ledger, durably. If that fails, nothing is sent.
4. Send, and hand on the text as it comes.
5. Write the outcome into the ledger, however it ended.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from device_agent.cloud_seam import CloudAsk
from device_agent.consult import Consultation
from device_agent.departure import Outside, told_of
from device_agent.disclosure import EXTERNAL, Disclosure
from device_agent.external.outgoing import Outgoing
from device_agent.external.seam import External, ExternalStream
from device_agent.reply import Ending
from device_agent.runtime import Ask, Runtime
from device_agent.tracing import RequestTrace
from lanai.content import Content
from lanai.errors import ExternalError, LanaiError, LedgerError
from lanai.telemetry import Attr, Span
from router.vocabulary import DataClass

__all__ = ["ExternalSide"]

log = logging.getLogger(__name__)


class ExternalSide:
    """Iterate ``pieces`` to the end, then read ``ending``."""

    def __init__(self, runtime: Runtime, ask: Ask, trace: RequestTrace) -> None:
        self.data_class: DataClass = ask.data_class
        self.ending: Ending | None = None
        self._runtime = runtime
        self._ask = ask
        self._trace = trace
        self._sent = 0
        self._stream: ExternalStream | None = None

    async def pieces(self, consultation: Consultation) -> AsyncGenerator[Content, None]:
        """Raises ``ConsentRefused``, ``NoRoute``, ``ExternalError``, ``DeadlineExceeded``."""
        external = self._runtime.external
        if external is None or consultation.decision is None:
            raise ExternalError("no endpoint outside is configured; nothing was sent")
        reason = consultation.decision.reason.value
        # 1. Ask.
        ready = await self._approved(external, reason)
        # 2. Check.
        outgoing = await asyncio.to_thread(
            Outgoing,
            ask=ready,
            data_class=self.data_class,
            raised=self._runtime.router.policy.raised,
            detector=self._runtime.detector,
        )
        # 3. Intent.
        disclosure = await asyncio.to_thread(
            self._runtime.ledger.intend,
            id=self._trace.id,
            reason=reason,
            mode=self._ask.mode.value,
            data_class=self.data_class.value,
            destination=EXTERNAL,
            endpoint=external.url,
            content=told_of(ready.messages),
        )
        outcome = "cancelled"
        try:
            # 4. Send.
            with self._trace.step(Span.EXTERNAL) as step:
                self._sent = external.size(ready)
                async with external.open(outgoing) as stream:
                    self._stream = stream
                    async for piece in stream:
                        yield piece
                    self.ending = _ending(stream)
                step.set(Attr.BYTES_SENT, self._sent)
                step.set(Attr.BYTES_RECEIVED, stream.bytes_received)
            outcome = "answered"
        except LanaiError as error:
            outcome = error.code
            raise
        finally:
            # 5. Outcome.
            self._conclude(disclosure, outcome)

    async def _approved(self, external: External, reason: str) -> CloudAsk:
        ask = self._ask
        return await ask.departure.prepare(
            CloudAsk(
                messages=ask.messages,
                max_tokens=ask.max_tokens,
                sampling=ask.options.sampling,
                stop=ask.options.stop,
            ),
            reason=reason,
            mode=ask.mode.value,
            data_class=self.data_class.value,
            outside=Outside(endpoint=external.url, size=external.size),
        )

    def _conclude(self, disclosure: Disclosure, outcome: str) -> None:
        details: dict[str, Any] = {"bytes_sent": self._sent}
        if self._stream is not None:
            details["bytes_received"] = self._stream.bytes_received
        try:
            self._runtime.ledger.conclude(disclosure, outcome, **details)
        except LedgerError as error:
            log.warning("the outcome of a disclosure was not written: %s", error.message)


def _ending(stream: ExternalStream) -> Ending:
    final = stream.final
    return Ending(
        model=final.model,
        finish_reason=final.finish_reason,
        input_tokens=final.input_tokens,
        output_tokens=final.output_tokens,
        decode_s=None,
    )
