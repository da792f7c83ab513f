"""The life of one request, from prompt to reply.

    1. Render the conversation with the device model's own template, and count tokens.
    2. Gather facts. The cloud is asked only when this request may leave the device.
    3. Stage 0: the rules.
    4. Stages 1 to 3: the device prefills; a draft, or an answer that is shown whole, is held back
       until the router has decided. Where that is close, the sealed call may be opened ahead.
    5. On the device: show the draft and go on. In the cloud: cancel the device's request first.
    6. The cloud failed and nothing was shown yet: the device answers, where the rules allow it.
    7. Store the trace with the decision and what it came to, however the request ended.

After the first character was shown the source never changes.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from device_agent.aftermath import ended
from device_agent.cloud_seam import CloudAsk
from device_agent.consult import Consultation
from device_agent.draft import Draft
from device_agent.enrolled import CloudState
from device_agent.escalation import Escalation, Leaving
from device_agent.gathering import explain_no_route, gather, notice
from device_agent.hedge import Hedge
from device_agent.local import LocalAnswer
from device_agent.reply import Ending, Reply, Usage
from device_agent.runtime import Ask, Runtime
from device_agent.tools import told
from inference.engine import Engine, FinishReason, GenerateOptions
from inference.text import ToolCall
from lanai.content import Content, TokenIds
from lanai.errors import (
    CloudError,
    ConsentRefused,
    EngineCrashed,
    LanaiError,
    LedgerError,
    ModelError,
    NoRoute,
    StoreError,
    StreamInterrupted,
    TrustError,
    UsageError,
    ValidationFailed,
)
from lanai.telemetry import Attr, Span
from router import Decision, Destination, Mode, Observations, Reason, RequestFacts

if TYPE_CHECKING:
    from inference.guided import GuidedAnswer

__all__ = ["Turn"]

Said = Content | ToolCall
ANSWERED, HEDGED = "answered", "hedge"


class Turn:
    """Iterate ``run`` to the end, then read ``reply``; there is none for a turn that failed."""

    def __init__(self, runtime: Runtime, ask: Ask) -> None:
        self.reply: Reply[Content] | None = None
        self._runtime = runtime
        self._ask = ask
        self._trace = runtime.tracing.request()
        self._begun = time.perf_counter()
        self._first: float | None = None
        self._shown: list[str] = []
        self._calls: list[ToolCall] = []
        self._data_class = ask.data_class
        self._ids: TokenIds | None = None
        self._no_model: ModelError | None = None
        self._ending: Ending | None = None
        self._consultation: Consultation | None = None
        self._draft: Draft | None = None
        self._engine: Engine | None = None
        self._sealed: list[Escalation] = []
        self._hedge: Hedge | None = None

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
            async with aclosing(self._answer()) as pieces:
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
            # 7. The trace.
            self._describe()
            await self._conclude(outcome)

    async def _answer(self) -> AsyncGenerator[Said, None]:
        # 1. Render, and look beside it for what should not leave.
        self._ids, noticed = await asyncio.gather(self._render(), notice(self._runtime, self._ask))
        raised = self._runtime.router.policy.raised
        self._data_class = raised.raised(self._ask.data_class, noticed.found)
        # 2. Facts.
        facts, state = await gather(self._runtime, self._ask, self._ids, noticed)
        # 3. Rules.
        consultation = Consultation(self._runtime.router.begin(facts), self._trace)
        self._consultation = consultation
        try:
            decision = self._by_rules(consultation, facts, state)
            # 4. Prefill and draft.
            if decision is None:
                draft = await self._begin_draft(consultation.needs)
                decision = await draft.decide(
                    consultation, valid=self._valid, undecided=self._open_ahead
                )
            # 5. Answer.
            async with aclosing(await self._answer_from(decision, consultation, facts)) as pieces:
                async for piece in pieces:
                    yield piece
        except EngineCrashed:
            await self._restart_engine()
            raise
        finally:
            await self._drop_draft()
            await self._drop_hedge()

    async def _render(self) -> TokenIds | None:
        """The prompt's ids; ``None`` when the device model cannot be loaded."""
        with self._trace.step(Span.RENDER) as step:
            try:
                text = await self._runtime.device.text()
            except ModelError as error:
                self._no_model = error
                return None  # the rules say what follows
            tools = told(self._ask.tools)
            ids = await asyncio.to_thread(text.render, self._ask.messages, tools)
            step.set(Attr.INPUT_TOKENS, len(ids))
            return ids

    def _by_rules(
        self, consultation: Consultation, facts: RequestFacts, state: CloudState
    ) -> Decision | None:
        """Stage 0; a dead end is raised as the error that says most."""
        try:
            return consultation.eligibility()
        except NoRoute as error:
            # Where nothing else can answer either, the model that is missing is what to mend.
            if self._no_model is not None and self._ask.mode is not Mode.ONLY_IN_CLOUD:
                raise self._no_model from None
            raise explain_no_route(error, facts, self._runtime.cloud, state) from None

    async def _answer_from(
        self, decision: Decision, consultation: Consultation, facts: RequestFacts
    ) -> AsyncGenerator[Said, None]:
        if decision.destination is Destination.DEVICE:
            await self._drop_hedge()
            return self._on_device()
        await self._drop_draft()
        return self._in_cloud(consultation, facts)

    async def _begin_draft(self, needs: Observations) -> Draft:
        text = await self._runtime.device.text()
        options = GenerateOptions(
            max_tokens=self._ask.max_tokens,
            stop_ids=text.stop_ids,
            sampling=self._ask.options.sampling,
            hidden_state=needs.hidden_state,
            statistics=needs.statistics,
        )
        engine = self._engine = await self._runtime.device.engine()
        guided = await self._guided(engine)
        answer = LocalAnswer(engine, text, self._prompt(), options, self._ask.options.stop, guided)
        self._draft = Draft(answer, self._trace)
        return self._draft

    async def _guided(self, engine: Engine) -> "GuidedAnswer | None":
        """What holds an answer of a form, or with tools, to its grammar."""
        ask = self._ask
        if ask.form is None and not ask.tools:
            return None
        guide = await self._runtime.device.guide()
        return await asyncio.to_thread(
            guide.answer,
            form=ask.form,
            tools=told(ask.tools),
            choice=ask.tool_choice,
            stop=ask.options.stop,
            vocabulary=engine.info.vocabulary,
        )

    async def _drop_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.close()

    def _open_ahead(self) -> None:
        """Where it is close: the call runs while the router still looks."""
        consultation = self._consultation
        if consultation is not None and consultation.hedge:
            consultation.hedged()
            self._hedge = Hedge(self._escalate(consultation))

    async def _drop_hedge(self) -> None:
        """Cancel a call that nobody takes over."""
        if self._hedge is not None and not self._hedge.taken:
            await self._hedge.cancel()

    def _valid(self, text: Content, calls: Sequence[ToolCall]) -> bool:
        """Is the device's whole answer what the app asked for?"""
        draft, ask = self._draft, self._ask
        cut_off = draft is not None and draft.answer.finish_reason is FinishReason.LENGTH
        if calls:
            return True
        if ask.check is None:
            return not (cut_off and ask.tools and not text)  # half a call
        try:
            ask.check(text)
        except ValidationFailed:
            return False
        return True

    async def _restart_engine(self) -> None:
        """The next request gets a new child; this one has failed."""
        if self._engine is not None:
            await self._runtime.device.discard(self._engine)

    async def _on_device(self) -> AsyncGenerator[Said, None]:
        draft = self._draft
        if draft is None:
            draft = await self._begin_draft(Observations())
            await draft.prefill()
        async with aclosing(draft.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        answer = draft.answer
        self._ending = Ending(
            model=self._runtime.device.model.name,
            finish_reason=answer.finish_reason or FinishReason.STOP,
            input_tokens=len(self._prompt()),
            output_tokens=answer.output_tokens,
            decode_s=answer.decode_s,
        )

    async def _in_cloud(
        self, consultation: Consultation, facts: RequestFacts
    ) -> AsyncGenerator[Said, None]:
        call = self._hedge.pieces() if self._hedge else self._escalate(consultation)
        try:
            async with aclosing(call) as pieces:
                async for piece in pieces:
                    yield piece
        except (CloudError, TrustError, LedgerError, StoreError, ConsentRefused) as error:
            if not isinstance(error, ConsentRefused):
                self._runtime.cloud.forget()
            # 6. Fall back, but never after the first character.
            cause = _cause(error)
            self._calls.clear()  # of an answer that broke off
            if self._shown or consultation.fall_back(cause, facts) is None:
                raise
        else:
            return
        async with aclosing(self._on_device()) as pieces:
            async for piece in pieces:
                yield piece

    async def _escalate(self, consultation: Consultation) -> AsyncGenerator[Said, None]:
        ask, decision = self._ask, consultation.decision
        escalation = Escalation(self._runtime.cloud.client, self._runtime.ledger, self._trace)
        self._sealed.append(escalation)
        leaving = Leaving(
            reason=decision.reason.value if decision else HEDGED,
            mode=ask.mode.value,
            data_class=self._data_class.value,
        )
        ready = await ask.departure.prepare(
            CloudAsk(
                messages=ask.messages,
                max_tokens=ask.max_tokens,
                sampling=ask.options.sampling,
                stop=ask.options.stop,
                form=ask.form,
                tools=told(ask.tools, cloud=True),
                tool_choice=ask.tool_choice,
                shape=self._runtime.cloud_stream_shape,
            ),
            reason=leaving.reason,
            mode=leaving.mode,
            data_class=leaving.data_class,
        )
        pieces = escalation.pieces(ready, leaving, deadline_s=self._runtime.cloud_timeout_s)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        self._ending = escalation.ending

    def _prompt(self) -> TokenIds:
        if self._ids is None:
            raise UsageError("the device model has not rendered this prompt")
        return self._ids

    def _note(self, piece: Content) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        self._shown.append(piece)

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

    def _describe(self) -> None:
        """Attributes of the request's own span."""
        root, ask, reply = self._trace.root, self._ask, self.reply
        root.set(Attr.OPERATION, "chat")
        root.set(Attr.PROVIDER, "lanai")
        root.set(Attr.MODE, ask.mode.value)
        root.set(Attr.DATA_CLASS, self._data_class.value)
        root.set(Attr.MAX_TOKENS, ask.max_tokens)
        root.set(Attr.TEMPERATURE, ask.options.temperature)
        if reply is not None:
            root.set(Attr.MODEL, reply.model)
            root.set(Attr.ROUTE, reply.source.value)
            root.set(Attr.INPUT_TOKENS, reply.usage.input_tokens)
            root.set(Attr.OUTPUT_TOKENS, reply.usage.output_tokens)
            root.set(Attr.TTFT_MS, reply.usage.ttft_ms)
            root.set(Attr.FINISH_REASON, reply.finish_reason.value)

    async def _conclude(self, error: str | None) -> None:
        """The trace, and what the next request may learn from this one."""
        decision = self.reply.decision if self.reply else self._settled(error or ANSWERED)
        runtime = self._runtime
        if decision is not None:
            self._describe_end(decision)
        await self._trace.finish(
            error=error,
            decision=decision.to_json_dict() if decision else None,
            then=lambda: runtime.memory.note(decision, runtime.router) if decision else None,
        )

    def _describe_end(self, decision: Decision) -> None:
        root, realized = self._trace.root, decision.realized
        root.set(Attr.HEDGED, decision.hedged)
        if realized is not None:
            root.set(Attr.OUTCOME, realized.outcome)
            root.set(Attr.MONEY, realized.money)
            root.set(Attr.WASTED, realized.wasted_requests)

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
            calls=self._sealed,
            wasted=int(self._hedge is not None and not self._hedge.taken),
            policy=self._runtime.router.policy,
        )


def _cause(error: LanaiError) -> Reason:
    """Why the device answers in the cloud's place."""
    match error:
        case ConsentRefused():
            return Reason.NO_CONSENT
        case TrustError():
            return Reason.CLOUD_NOT_VERIFIED
        case _:
            return Reason.CLOUD_FAILED
