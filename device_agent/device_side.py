"""One request's side on the device: its prompt rendered, a draft held back, the answer said."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from device_agent.consult import Consultation
from device_agent.draft import Draft
from device_agent.local_answer import LocalAnswer
from device_agent.reply import Ending
from device_agent.runtime import Ask, Runtime
from device_agent.tools import told
from device_agent.tracing import RequestTrace
from inference.engine import Engine, FinishReason, GenerateOptions
from inference.text import ToolCall
from lanai.content import Content, TokenIds
from lanai.errors import ModelError, UsageError, ValidationFailed
from lanai.telemetry import Attr, Span
from router import Decision, Observations

if TYPE_CHECKING:
    from inference.guided import GuidedAnswer

__all__ = ["DeviceSide"]


class DeviceSide:
    """``render``; ``decide`` where the router wants to look; ``pieces``; always ``drop``."""

    def __init__(self, runtime: Runtime, ask: Ask, trace: RequestTrace) -> None:
        self.ids: TokenIds | None = None
        self.no_model: ModelError | None = None
        """Why ``render`` gave nothing."""
        self.ending: Ending | None = None
        self._runtime = runtime
        self._ask = ask
        self._trace = trace
        self._draft: Draft | None = None
        self._engine: Engine | None = None

    async def render(self) -> TokenIds | None:
        """The prompt's ids; ``None`` when the device model cannot be loaded."""
        with self._trace.step(Span.RENDER) as step:
            try:
                text = await self._runtime.device.text()
            except ModelError as error:
                self.no_model = error
                return None  # the rules say what follows
            tools = told(self._ask.tools)
            self.ids = await asyncio.to_thread(text.render, self._ask.messages, tools)
            step.set(Attr.INPUT_TOKENS, len(self.ids))
            return self.ids

    async def decide(
        self, consultation: Consultation, *, undecided: Callable[[], None]
    ) -> Decision:
        """Stages 1 to 3 on a draft; ``undecided`` is told after the prefill."""
        draft = await self._begin(consultation.needs)
        return await draft.decide(consultation, valid=self._valid, undecided=undecided)

    async def pieces(self) -> AsyncGenerator[Content | ToolCall, None]:
        """The draft and what follows on it, or an answer from its start."""
        draft = self._draft
        if draft is None:
            draft = await self._begin(Observations())
            await draft.prefill()
        async with aclosing(draft.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        answer = draft.answer
        self.ending = Ending(
            model=self._runtime.device.model.name,
            finish_reason=answer.finish_reason or FinishReason.STOP,
            input_tokens=len(self._prompt()),
            output_tokens=answer.output_tokens,
            decode_s=answer.decode_s,
        )

    async def drop(self) -> None:
        """Cancel what runs, forget what was held back. Idempotent."""
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.close()

    async def restart(self) -> None:
        """The next request gets a new child; this one's engine has failed."""
        if self._engine is not None:
            await self._runtime.device.discard(self._engine)

    async def _begin(self, needs: Observations) -> Draft:
        text = await self._runtime.device.text()
        options = GenerateOptions(
            max_tokens=self._ask.max_tokens,
            stop_ids=text.stop_ids,
            sampling=self._ask.options.sampling,
            hidden_state=needs.hidden_state,
            statistics=needs.statistics,
            speculation=self._ask.options.speculation,
        )
        engine = self._engine = await self._runtime.device.engine()
        guided = await self._guided(engine)
        asked = self._ask.options
        answer = LocalAnswer(
            engine, text, self._prompt(), options, asked.stop, guided, adapter=asked.adapter
        )
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

    def _prompt(self) -> TokenIds:
        if self.ids is None:
            raise UsageError("the device model has not rendered this prompt")
        return self.ids
