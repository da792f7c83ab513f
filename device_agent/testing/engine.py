"""An engine without a model: it says what the test wrote."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from device_agent.features.likelihood import Forced
from device_agent.local import LocatedModel
from device_agent.testing.text import fake_text
from inference.engine import (
    Constraint,
    Engine,
    EngineInfo,
    Event,
    EventStream,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Token,
    TokenStatistics,
)
from inference.text import TextModel
from lanai.content import Content, TokenIds
from lanai.errors import LanaiError, ModelNotFound

__all__ = ["FakeDevice", "FakeEngine"]

CALM = TokenStatistics(entropy=0.2, margin=0.8, top_probability=0.9)
WEIGHTS = "fa" * 32
WORD = re.compile(r"\w+")
NATS = 8.0


class FakeEngine:
    """Gives one answer of ``script`` to each request, the last one again when they run out.

    An error in the script is raised in an answer's place. What an answer may be (``into``, tools)
    is not enforced here as a real engine does: a script that breaks its form shows what the app
    does about it. A text whose likelihood is asked for takes no answer: it is the likelier, the
    more of its words stand in the prompt.
    """

    def __init__(self, script: "Script") -> None:
        self._script = script
        self.info = EngineInfo(
            architecture="fake",
            vocabulary=script.text.vocabulary,
            width=1,
            context_tokens=script.context_tokens,
            weights_sha256=WEIGHTS,
            device="cpu",
        )

    def submit(
        self,
        ids: Sequence[int],
        options: GenerateOptions,
        *,
        request_id: str | None = None,
        adapter: str | None = None,
        constraint: Constraint | None = None,
    ) -> EventStream:
        """As `Engine.submit`."""
        self._script.adapters.append(adapter)
        if isinstance(constraint, Forced):
            return _Stream(self._forced(ids, constraint.ids))
        return _Stream(self._events(ids, options))

    async def _events(
        self, ids: Sequence[int], options: GenerateOptions
    ) -> AsyncGenerator[Event, None]:
        answer = self._script.next(TokenIds(ids))
        statistics = CALM if options.statistics else None
        yield Prefilled(input_tokens=len(ids), queue_s=0.0, prefill_s=0.0, statistics=statistics)
        tokens = answer[: options.max_tokens]
        for each in tokens:
            await asyncio.sleep(0)
            yield Token(id=each, statistics=statistics)
        whole = len(tokens) == len(answer)
        yield Finished(
            reason=FinishReason.STOP if whole else FinishReason.LENGTH,
            output_tokens=len(tokens),
            decode_s=0.001,
        )

    async def _forced(self, ids: Sequence[int], text: Sequence[int]) -> AsyncGenerator[Event, None]:
        each = self._script.likelihood(TokenIds(ids), TokenIds(text)) / len(text)
        statistics = replace(CALM, chosen_log_probability=each)
        yield Prefilled(input_tokens=len(ids), queue_s=0.0, prefill_s=0.0)
        for token in text:
            await asyncio.sleep(0)
            yield Token(id=token, statistics=statistics)
        yield Finished(reason=FinishReason.LENGTH, output_tokens=len(text), decode_s=0.001)

    async def cancel(self, request_id: str) -> None:
        """Requests here end when their stream is closed."""

    async def close(self) -> None:
        """Nothing runs."""


class _Stream:
    """The events of one request."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        await self._events.aclose()


class Script:
    """What a device says, and what it was asked."""

    def __init__(self, answers: Sequence[str | LanaiError], *, context_tokens: int) -> None:
        self.text = fake_text()
        self.context_tokens = context_tokens
        self.prompts: list[Content] = []
        self.adapters: list[str | None] = []
        self._answers = list(answers)

    def next(self, ids: TokenIds) -> TokenIds:
        """The next answer's tokens. Raises what the script has in its place."""
        self.prompts.append(self._spelled(ids))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, LanaiError):
            raise answer
        return self.text.encode(answer)

    def likelihood(self, prompt: TokenIds, text: TokenIds) -> float:
        """Nats: as if a word that the prompt does not hold were one of a few thousand."""
        known = set(WORD.findall(self._spelled(prompt).lower()))
        return -NATS * sum(word not in known for word in WORD.findall(self._spelled(text).lower()))

    def _spelled(self, ids: TokenIds) -> Content:
        return Content(b"".join(map(self.text.tokens.bytes_of, ids)).decode("utf-8", "replace"))


class FakeDevice:
    """A `device_agent.local.Loader`. No answers: the model is not installed."""

    def __init__(self, answers: Sequence[str | LanaiError], *, context_tokens: int = 4096) -> None:
        self.script = Script(answers, context_tokens=context_tokens)
        self._installed = bool(answers)

    def locate(self) -> LocatedModel:
        if not self._installed:
            raise ModelNotFound("the model is not installed", hint="this one is fake")
        return LocatedModel(name="fake", path=Path("fake"), weights_sha256=WEIGHTS)

    def load_text(self, model: LocatedModel) -> TextModel:
        return self.script.text

    async def start(self, model: LocatedModel) -> Engine:
        return FakeEngine(self.script)
