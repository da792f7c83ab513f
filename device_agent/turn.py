"""The life of one request, from prompt to reply.

    0. The session's input checks. What they refuse is neither rendered nor routed.
    1. Render the conversation with the device model's own template, and count tokens.
    2. Gather facts. The cloud is asked only when this request may leave the device.
    3. Stage 0: the rules.
    4. Stages 1 to 3: the device prefills; a draft, or an answer that is shown whole, is held back
       until the router has decided. Where that is close, the sealed call may be opened ahead.
    5. On the device: show the draft and go on. In the cloud: cancel the device's request first.
    6. That place failed and nothing was shown yet: the device answers, where the rules allow it.
    7. The session's output checks, on each piece before it is shown.
    8. Store the trace with the decision and what it came to, however the request ended.

After the first character was shown the source never changes. What each place does for it is in
`device_agent.device_side`, `device_agent.cloud_side` and, where the app asks for it,
`device_agent.external.side`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from device_agent.aftermath import describe, describe_end, ended
from device_agent.cloud_side import FAILURES, CloudSide, cause_of
from device_agent.consult import Consultation
from device_agent.device_side import DeviceSide
from device_agent.enrolled import CloudState
from device_agent.external.side import ExternalSide
from device_agent.gathering import explain_no_route, gather, notice
from device_agent.guardrails.guarding import Guard
from device_agent.reply import Ending, Reply, Usage
from device_agent.runtime import Ask, Runtime
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import EngineCrashed, LanaiError, NoRoute, StreamInterrupted
from router import Decision, Destination, Mode, RequestFacts

__all__ = ["Turn"]

Said = Content | ToolCall
ANSWERED = "answered"


class Turn:
    """Iterate ``run`` to the end, then read ``reply``; there is none for a turn that failed."""

    def __init__(self, runtime: Runtime, ask: Ask) -> None:
        self.reply: Reply[Content] | None = None
        self._runtime = runtime
        self._ask = ask
        self._trace = runtime.tracing.request()
        self._device = DeviceSide(runtime, ask, self._trace)
        self._cloud = CloudSide(runtime, ask, self._trace)
        self._external = ExternalSide(runtime, ask, self._trace)
        self._guard = Guard(ask.guardrails, self._trace, whole=ask.unseen)
        self._begun = time.perf_counter()
        self._first: float | None = None
        self._shown: list[str] = []
        self._calls: list[ToolCall] = []
        self._consultation: Consultation | None = None

    @property
    def trace_id(self) -> str:
        return self._trace.id

    @property
    def decision(self) -> Decision | None:
        """The last that fell; it stands once a piece was shown."""
        return self._consultation.decision if self._consultation else None

    async def run(self) -> AsyncGenerator[Content, None]:
        """The answer's text, piece by piece. Raises any ``LanaiError``."""
        outcome: str | None = "cancelled"
        try:
            async with self._runtime.places.take(), aclosing(self._guarded()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ToolCall):
                        self._calls.append(piece)
                    else:
                        self._note(piece)
                        yield piece
            self.reply = self._whole()
            outcome = None
        except LanaiError as error:
            outcome = error.code
            raise
        finally:
            # 8. The trace.
            describe(self._trace.root, self._ask, self._cloud.data_class, self.reply)
            await self._conclude(outcome)

    async def _guarded(self) -> AsyncGenerator[Said, None]:
        # 0. What goes in.
        await self._guard.admit(self._ask.messages)
        # 7. What comes out.
        async with aclosing(self._guard.watch(self._answer())) as pieces:
            async for piece in pieces:
                yield piece

    async def _answer(self) -> AsyncGenerator[Said, None]:
        # 1. Render, and look beside it for what should not leave.
        ids, noticed = await asyncio.gather(self._device.render(), notice(self._runtime, self._ask))
        raised = self._runtime.router.policy.raised
        data_class = raised.raised(self._ask.data_class, noticed.found)
        self._cloud.data_class = self._external.data_class = data_class
        # 2. Facts.
        facts, state = await gather(self._runtime, self._ask, ids, noticed)
        # 3. Rules.
        consultation = Consultation(self._runtime.router.begin(facts), self._trace)
        self._consultation = consultation
        try:
            decision = self._by_rules(consultation, facts, state)
            # 4. Prefill and draft.
            if decision is None:
                decision = await self._device.decide(
                    consultation, undecided=lambda: self._cloud.open_ahead(consultation)
                )
            # 5. Answer.
            async with aclosing(await self._answer_from(decision, consultation, facts)) as pieces:
                async for piece in pieces:
                    yield piece
        except EngineCrashed:
            await self._device.restart()
            raise
        finally:
            await self._device.drop()
            await self._cloud.drop()

    def _by_rules(
        self, consultation: Consultation, facts: RequestFacts, state: CloudState
    ) -> Decision | None:
        """Stage 0; a dead end is raised as the error that says most."""
        try:
            return consultation.eligibility()
        except NoRoute as error:
            # Where nothing else can answer either, the model that is missing is what to mend.
            if self._device.no_model is not None and self._ask.mode is not Mode.ONLY_IN_CLOUD:
                raise self._device.no_model from None
            raise explain_no_route(error, facts, self._runtime.cloud, state) from None

    async def _answer_from(
        self, decision: Decision, consultation: Consultation, facts: RequestFacts
    ) -> AsyncGenerator[Said, None]:
        if decision.destination is Destination.DEVICE:
            await self._cloud.drop()
            return self._device.pieces()
        await self._device.drop()
        outside = decision.destination is Destination.EXTERNAL
        side = self._external if outside else self._cloud
        return self._away(side.pieces(consultation), consultation, facts)

    async def _away(
        self, said: AsyncGenerator[Said, None], consultation: Consultation, facts: RequestFacts
    ) -> AsyncGenerator[Said, None]:
        """From the cloud, or from outside."""
        try:
            async with aclosing(said) as pieces:
                async for piece in pieces:
                    yield piece
        except FAILURES as error:
            # 6. Fall back, but never after the first character.
            self._calls.clear()  # of an answer that broke off
            self._guard.forget()
            cause = cause_of(error, consultation.decision)
            if self._shown or consultation.fall_back(cause, facts) is None:
                raise
        else:
            return
        async with aclosing(self._device.pieces()) as pieces:
            async for piece in pieces:
                yield piece

    def _note(self, piece: Content) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        self._shown.append(piece)

    @property
    def _ending(self) -> Ending | None:
        return self._device.ending or self._cloud.ending or self._external.ending

    def _whole(self) -> Reply[Content]:
        ending = self._ending
        decision = self._settled(ANSWERED)
        if ending is None or decision is None:
            raise StreamInterrupted("the answer has no last frame", received=len(self._shown))
        text = Content("".join(self._shown))
        return Reply(
            value=text,
            text=text,
            source=decision.destination,
            model=ending.model,
            decision=decision,
            usage=self._usage(ending),
            receipt=ending.receipt,
            trace_id=self._trace.id,
            finish_reason=ending.finish_reason,
            tool_calls=tuple(self._calls),
        )

    def _usage(self, ending: Ending) -> Usage:
        first = self._first
        return Usage(
            input_tokens=ending.input_tokens,
            output_tokens=ending.output_tokens,
            ttft_ms=None if first is None else (first - self._begun) * 1e3,
            tokens_per_s=ending.output_tokens / ending.decode_s if ending.decode_s else None,
        )

    async def _conclude(self, error: str | None) -> None:
        """The trace, and what the next request may learn from this one."""
        decision = self.reply.decision if self.reply else self._settled(error or ANSWERED)
        runtime = self._runtime
        if decision is not None:
            describe_end(self._trace.root, decision)
        await self._trace.finish(
            error=error,
            decision=decision.to_json_dict() if decision else self._refused(),
            then=lambda: runtime.memory.note(decision, runtime.router) if decision else None,
        )

    def _refused(self) -> dict[str, Any] | None:
        """What is kept of a request that the rules left no place for."""
        refusal = self._consultation.refusal if self._consultation else None
        return refusal.ended(self._trace.id).to_json_dict() if refusal else None

    def _settled(self, outcome: str) -> Decision | None:
        """The decision that stands, with what the request came to."""
        if self.decision is None:
            return None
        return ended(
            self.decision,
            self._trace.id,
            outcome=outcome,
            seconds=time.perf_counter() - self._begun,
            ending=self._ending,
            calls=self._cloud.calls,
            wasted=self._cloud.wasted,
            policy=self._runtime.router.policy,
        )
