"""One request's side in the cloud: sealed calls, one of them perhaps opened ahead."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from device_agent.cloud_seam import CloudAsk
from device_agent.consult import Consultation
from device_agent.escalation import Escalation, Leaving
from device_agent.hedge import Hedge
from device_agent.reply import Ending
from device_agent.runtime import Ask, Runtime
from device_agent.tools import told
from device_agent.tracing import RequestTrace
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import (
    CloudError,
    ConsentRefused,
    ExternalError,
    LanaiError,
    LedgerError,
    NoRoute,
    StoreError,
    TrustError,
)
from router import Decision, Destination, Reason

__all__ = ["FAILURES", "CloudSide", "cause_of"]

FAILURES = (
    *(CloudError, TrustError, LedgerError, StoreError, ConsentRefused),
    *(ExternalError, NoRoute),  # of the endpoint outside, and of the last check before it
)
"""What the device may answer for in another place's stead."""
HEDGED = "hedge"


class CloudSide:
    """``open_ahead`` where it is close; ``pieces``; always ``drop``."""

    def __init__(self, runtime: Runtime, ask: Ask, trace: RequestTrace) -> None:
        self.data_class = ask.data_class
        """The app's, until what the detector found raises it."""
        self.ending: Ending | None = None
        self.calls: list[Escalation] = []
        self._runtime = runtime
        self._ask = ask
        self._trace = trace
        self._hedge: Hedge | None = None

    @property
    def wasted(self) -> int:
        """Calls that were opened ahead for nothing."""
        return int(self._hedge is not None and not self._hedge.taken)

    def open_ahead(self, consultation: Consultation) -> None:
        """Where it is close: the call runs while the router still looks."""
        if consultation.hedge:
            consultation.hedged()
            self._hedge = Hedge(self._escalate(consultation))

    async def drop(self) -> None:
        """Cancel a call that nobody takes over. Idempotent."""
        if self._hedge is not None and not self._hedge.taken:
            await self._hedge.cancel()

    async def pieces(self, consultation: Consultation) -> AsyncGenerator[Content | ToolCall, None]:
        """Raises one of ``FAILURES``."""
        call = self._hedge.pieces() if self._hedge else self._escalate(consultation)
        try:
            async with aclosing(call) as pieces:
                async for piece in pieces:
                    yield piece
        except FAILURES as error:
            if not isinstance(error, ConsentRefused):
                self._runtime.cloud.forget()
            raise

    async def _escalate(
        self, consultation: Consultation
    ) -> AsyncGenerator[Content | ToolCall, None]:
        ask, decision = self._ask, consultation.decision
        escalation = Escalation(self._runtime.cloud.client, self._runtime.ledger, self._trace)
        self.calls.append(escalation)
        leaving = Leaving(
            reason=decision.reason.value if decision else HEDGED,
            mode=ask.mode.value,
            data_class=self.data_class.value,
        )
        ready = await ask.departure.prepare(
            self._leaves(),
            reason=leaving.reason,
            mode=leaving.mode,
            data_class=leaving.data_class,
        )
        pieces = escalation.pieces(ready, leaving, deadline_s=self._runtime.cloud_timeout_s)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        self.ending = escalation.ending

    def _leaves(self) -> CloudAsk:
        ask = self._ask
        return CloudAsk(
            messages=ask.messages,
            max_tokens=ask.max_tokens,
            sampling=ask.options.sampling,
            stop=ask.options.stop,
            form=ask.form,
            tools=told(ask.tools, cloud=True),
            tool_choice=ask.tool_choice,
            shape=self._runtime.cloud_stream_shape,
        )


def cause_of(error: LanaiError, decision: Decision | None) -> Reason:
    """Why the device answers in the place of the cloud, or of the endpoint outside."""
    outside = decision is not None and decision.destination is Destination.EXTERNAL
    match error:
        case ConsentRefused():
            return Reason.NO_CONSENT
        case _ if outside:
            return Reason.EXTERNAL_FAILED
        case TrustError():
            return Reason.CLOUD_NOT_VERIFIED
        case _:
            return Reason.CLOUD_FAILED
