"""An agent whose engine, tokenizer and cloud are scripted; router, stores and flow are real."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_places import READY, ScriptedCloud, ScriptedLoader

from device_agent.agent import AsyncAgent
from device_agent.cloud.values import CloudStatus
from device_agent.enrolled import EnrolledCloud
from device_agent.ledger import Ledger
from device_agent.local import Device
from device_agent.runtime import Runtime
from device_agent.traces import TraceStore
from device_agent.tracing import Tracing
from inference.engine import (
    EngineInfo,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Token,
    TokenStatistics,
)
from lanai.content import TokenIds
from lanai.errors import EngineCrashed
from lanai.settings import Settings
from router import LogisticEstimator, MeasuredModel, MeasuredPair, Policy, Router
from router.heads import Head

CALM = TokenStatistics(entropy=0.2, margin=0.8, top_probability=0.9)


class CharacterText:
    """A tokenizer whose ids are code points; the template is `role: text` lines."""

    stop_ids = frozenset({0})
    stop_strings = ("never",)  # the form's own; `decoder` adds them itself
    vocabulary = 0x110000

    def encode(self, text: str) -> TokenIds:
        return TokenIds(map(ord, text))

    def render(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> TokenIds:
        return self.encode("".join(f"{m.role}: {m.text}\n" for m in messages))

    def decoder(self, stop: Sequence[str] = ()) -> "CharacterStream":
        return CharacterStream(tuple(stop))


class CharacterStream:
    """Holds text back while it could be the start of a stop string."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self.stopped = False
        self._stop = stop
        self._held = ""

    def push(self, token_id: int) -> str:
        self._held += chr(token_id)
        for stop in self._stop:
            if self._held.endswith(stop):
                self.stopped = True
                return self._release(len(stop), drop=True)
        could_be = [n for s in self._stop for n in range(1, len(s)) if self._held.endswith(s[:n])]
        return self._release(max(could_be, default=0))

    def finish(self) -> str:
        return self._release(0)

    def _release(self, kept: int, *, drop: bool = False) -> str:
        cut = len(self._held) - kept
        shown, rest = self._held[:cut], self._held[cut:]
        self._held = "" if drop else rest
        return shown


@dataclass
class ScriptedEngine:
    """Answers every request with `answer`, a code point a token; can crash after some tokens."""

    answer: str = "from the device"
    crash_after: int | None = None
    statistics: TokenStatistics = CALM
    seen: list[tuple[tuple[int, ...], GenerateOptions]] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False
    running: int = 0
    most_running: int = 0

    info = EngineInfo(
        architecture="scripted",
        vocabulary=0x110000,
        width=1,
        context_tokens=400,
        weights_sha256="ab" * 32,
        device="cpu",
    )

    async def submit(
        self, ids: Sequence[int], options: GenerateOptions, **_: Any
    ) -> AsyncIterator[Any]:
        self.seen.append((tuple(ids), options))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        done = False
        try:
            asked = options.statistics
            yield Prefilled(
                input_tokens=len(ids),
                queue_s=0.0,
                prefill_s=0.001,
                statistics=self.statistics if asked else None,
            )
            chosen = self.answer[: options.max_tokens]
            for count, character in enumerate(chosen):
                if count == self.crash_after:
                    raise EngineCrashed("the engine ended")
                await asyncio.sleep(0)
                yield Token(id=ord(character), statistics=self.statistics if asked else None)
            whole = len(chosen) == len(self.answer)
            done = True
            yield Finished(
                reason=FinishReason.STOP if whole else FinishReason.LENGTH,
                output_tokens=len(chosen),
                decode_s=0.01,
            )
        finally:
            self.running -= 1
            self.cancelled += not done

    async def cancel(self, request_id: str) -> None:
        raise AssertionError("requests are cancelled by closing their iterator")

    async def close(self) -> None:
        self.closed = True


class ForbiddenCloud:
    """Fails the test when anything touches it."""

    async def status(self) -> CloudStatus:
        raise AssertionError("the cloud was asked for its status")

    def open(self, ask: Any, *, deadline_s: float) -> Any:
        raise AssertionError("the cloud was opened")

    async def close(self) -> None:
        pass


@dataclass
class Bench:
    """One agent and everything it was made of."""

    agent: AsyncAgent
    loader: ScriptedLoader
    engine: ScriptedEngine
    ledger: Ledger
    store: TraceStore


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> MakeBench:
    def make(
        *,
        cloud: Any = None,
        enrolled: EnrolledCloud | None = None,
        engines: Sequence[ScriptedEngine] = (),
        installed: bool = True,
        router: Router | None = None,
        ledger: Ledger | None = None,
        tracing: Tracing | None = None,
        **settings: Any,
    ) -> Bench:
        chosen = list(engines) or [ScriptedEngine()]
        loader = ScriptedLoader(chosen, CharacterText(), installed=installed)
        ledger = ledger or Ledger(tmp_path / "ledger.jsonl")
        store = TraceStore.open(tmp_path / "traces.sqlite")
        runtime = Runtime(
            device=Device(loader, context_tokens=400),
            cloud=enrolled or EnrolledCloud(cloud),
            router=router or Router(Policy.load(None)),
            ledger=ledger,
            tracing=tracing or Tracing(store, environ={}),
            cloud_timeout_s=5.0,
        )
        agent = AsyncAgent(runtime, Settings(max_output_tokens=64, **settings))
        return Bench(agent, loader, chosen[0], ledger, store)

    return make


@pytest.fixture
def scripted() -> SimpleNamespace:
    """The doubles themselves, for tests that script them."""
    return SimpleNamespace(
        Engine=ScriptedEngine,
        Cloud=ScriptedCloud,
        READY=READY,
        ForbiddenCloud=ForbiddenCloud,
    )


@pytest.fixture
def drafting_router() -> Router:
    """Confident after the prefill, and looks at four tokens of the draft: entropy above 1 trips."""
    pair = MeasuredPair(
        device=MeasuredModel(names=("scripted",), weights_sha256="ab" * 32),
        cloud=MeasuredModel(names=("big",), weights_sha256="cd" * 32),
    )
    estimator = LogisticEstimator(
        pair=pair,
        predictive=True,
        device_head=Head(bias=2.0, terms=()),
        cloud_head=Head(bias=0.0, terms=()),
        alone={},
        measurement={},
    )
    policy = replace(
        Policy.load(None), early_decode_tokens=4, early_decode_window=2, entropy_above=1.0
    )
    return Router(policy, estimator)


@pytest.fixture
def uncertain() -> TokenStatistics:
    return TokenStatistics(entropy=3.0, margin=0.01, top_probability=0.1)
