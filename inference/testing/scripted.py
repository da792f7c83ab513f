"""A deterministic engine for tests: no process, no torch, the real scheduler and sampler.

    engine = ScriptedEngine([Script(ids=(5, 6, 7))])
    async for event in engine.submit([1, 2], GenerateOptions(max_tokens=8, stop_ids={STOP_ID})): …

Each request plays the next script (the last one again when they are used up): its ids, then
``STOP_ID`` for ever. The scripted token is the likeliest of a distribution with the probability
asked for, so statistics, masks and sampling behave as with a model. ``hold`` and ``release`` stop
the engine between steps; ``crash`` ends it as a killed child would.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.dialogue import Submission
from inference.engine import Constraint, EngineInfo, GenerateOptions
from inference.requests import LiveRequests
from inference.runner import Prediction, Slot, step_alone
from inference.scheduler import Outcomes, Scheduler
from inference.stream import RequestStream
from lanai.content import TokenIds
from lanai.errors import EngineClosed, EngineCrashed

__all__ = ["STOP_ID", "Script", "ScriptedEngine"]

STOP_ID: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One answer. ``probability`` is that of each scripted token; the rest share what is left."""

    ids: tuple[int, ...] = ()
    probability: float = 0.9
    hidden: tuple[float, ...] | None = None
    """The hidden state after the prompt; unset: 1/(i+1) at place i."""
    crash_after: int | None = None
    """End the whole engine once so many tokens of this answer are out."""


class ScriptedEngine:
    """Implements ``inference.engine.Engine`` in the caller's own event loop."""

    def __init__(
        self,
        scripts: Sequence[Script] = (Script(),),
        *,
        vocabulary: int = 64,
        context_tokens: int = 256,
        width: int = 8,
        architecture: str = "scripted",
        weights_sha256: str = "0" * 64,
    ) -> None:
        self._info = EngineInfo(
            architecture=architecture,
            vocabulary=vocabulary,
            width=width,
            context_tokens=context_tokens,
            weights_sha256=weights_sha256,
            device="cpu",
        )
        self.prompts: list[TokenIds] = []
        """Every prompt submitted, in order."""
        self.stage = Stage(scripts, vocabulary=vocabulary, width=width)
        """What the requests hold: ``stage.live`` counts caches that are not wiped."""
        self._scheduler = Scheduler(self.stage, clock=_Ticks())
        self._requests: LiveRequests | None = None
        self._pump: asyncio.Task[None] | None = None
        self._going = asyncio.Event()
        self._going.set()
        self._wake = asyncio.Event()
        self._over: EngineClosed | EngineCrashed | None = None

    @property
    def info(self) -> EngineInfo:
        return self._info

    def submit(
        self,
        ids: Sequence[int],
        options: GenerateOptions,
        *,
        request_id: str | None = None,
        adapter: str | None = None,
        constraint: Constraint | None = None,
    ) -> RequestStream:
        """See ``Engine.submit``."""
        if self._over is not None:
            raise self._over
        if self._requests is None:
            self._requests = LiveRequests(self)
        stream = self._requests.submit(
            ids, options, self._info, request_id=request_id, adapter=adapter, constraint=constraint
        )
        self.prompts.append(TokenIds(ids))
        return stream

    async def cancel(self, request_id: str) -> None:
        """See ``Engine.cancel``."""
        if self._requests is not None:
            self._requests.cancel(request_id)

    async def close(self) -> None:
        """See ``Engine.close``."""
        self._end(EngineClosed("the engine is closed"))
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)

    def hold(self) -> None:
        """Take no further step until ``release``."""
        self._going.clear()

    def release(self) -> None:
        """Go on after ``hold``."""
        self._going.set()

    def crash(self) -> None:
        """End as a killed child would: every live request raises ``EngineCrashed``."""
        self._end(EngineCrashed("the engine's process ended"))

    def begin(self, submission: Submission) -> None:
        """For ``LiveRequests``."""
        self._scheduler.submit(
            submission.request_id,
            submission.prompt,
            submission.options,
            constrained=submission.constrained,
            adapter=submission.adapter,
        )
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())
        self._wake.set()

    def give_mask(self, number: str, mask: NDArray[np.uint32] | None) -> None:
        """For ``LiveRequests``."""
        self._scheduler.give_mask(number, mask)
        self._wake.set()

    def end(self, number: str) -> None:
        """For ``LiveRequests``."""
        self._deliver(self._scheduler.cancel(number))

    async def _run(self) -> None:
        try:
            await self._play()
        finally:
            self.crash()  # no effect when it was closed; else nobody may wait for ever

    async def _play(self) -> None:
        while self._over is None:
            self._wake.clear()
            await self._going.wait()
            if self._scheduler.idle:
                await self._wake.wait()
                continue
            outcomes = list(self._scheduler.step())
            if self.stage.crash_due:
                self.crash()
            else:
                self._deliver(iter(outcomes))
            await asyncio.sleep(0)

    def _deliver(self, outcomes: Outcomes) -> None:
        for number, outcome in outcomes:
            if self._requests is not None:
                self._requests.deliver(number, outcome)

    def _end(self, error: EngineClosed | EngineCrashed) -> None:
        self._over = error if isinstance(error, EngineClosed) else self._over or error
        if self._requests is not None:
            self._requests.fail_all(error)
        if self._pump is not None and self._pump is not asyncio.current_task():
            self._pump.cancel()


class Stage:
    """A ``Runner`` that plays scripts. ``live`` counts requests whose cache is not wiped."""

    def __init__(self, scripts: Sequence[Script], *, vocabulary: int, width: int) -> None:
        self._scripts = tuple(scripts)
        self._vocabulary = vocabulary
        self._width = width
        self._played = 0
        self.live = 0
        self.crash_due = False

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> "Performance":
        script = self._scripts[min(self._played, len(self._scripts) - 1)]
        self._played += 1
        self.live += 1
        return Performance(self, script, prompt)

    def step(self, slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
        return step_alone(slots, ids)

    def prediction(self, script: Script, index: int) -> Prediction:
        """The distribution of the answer's token ``index``."""
        token = script.ids[index] if index < len(script.ids) else STOP_ID
        rest = max(1 - script.probability, 1e-9) / (self._vocabulary - 1)
        logits = np.full(self._vocabulary, math.log(rest), dtype=np.float32)
        logits[token] = math.log(script.probability)
        hidden = script.hidden or tuple(1 / (i + 1) for i in range(self._width))
        return Prediction(logits=logits, hidden=np.asarray(hidden, dtype=np.float32))


class Performance:
    """A ``Slot``: one script being played after a prompt of known length."""

    def __init__(self, stage: Stage, script: Script, prompt: int) -> None:
        self._stage = stage
        self._script = script
        self._before = prompt

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        self._before -= ids.size
        index = max(-self._before, 0)
        self._stage.crash_due |= index == self._script.crash_after
        return self._stage.prediction(self._script, index)

    def wipe(self) -> None:
        self._stage.live -= 1


class _Ticks:
    """A clock that moves a millisecond with each look: times are positive and repeatable."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 0.001
        return self._now
