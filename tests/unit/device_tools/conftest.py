"""An agent over scripted engines with a real text model, real masks and a scripted cloud."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from device_agent.agent import AsyncAgent
from device_agent.cloud_seam import CloudAsk
from device_agent.enrolled import EnrolledCloud
from device_agent.ledger import Ledger
from device_agent.local import Device, LocatedModel
from device_agent.runtime import Runtime
from device_agent.tracing import Tracing
from inference.testing import Script, ScriptedEngine, write_tiny_model
from inference.testing.tiny_model import TINY_VOCABULARY
from inference.text import TextModel, ToolCall, load_text_model
from lanai.content import Content
from lanai.settings import Settings
from router import Policy, Router

Said = Content | ToolCall


@dataclass(frozen=True)
class Status:
    configured: bool = True
    reachable: bool = True
    verified_nodes: int = 1
    most_nodes: int = 1
    tokens_left: int | None = 5
    tokens_lost: int = 0
    model: str | None = "big"
    weights: str | None = None
    context_tokens: int = 4000
    reason: str = "1 verified node"
    hint: str | None = None


@dataclass(frozen=True)
class Final:
    finish_reason: str = "stop"
    input_tokens: int = 20
    output_tokens: int = 5
    model: str = "big"
    timings: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Proof:
    node: str = "aa" * 32
    measurement: str = "bb" * 32
    evidence: str = "unsafe_software"
    log_checkpoint: str = "cc" * 32
    shape: str = "padded"


@dataclass(frozen=True)
class Left:
    bytes_sent: int = 4096
    bytes_received: int = 1024
    nodes: tuple[str, ...] = ("aa" * 32,)


@dataclass
class Stream:
    pieces: Sequence[Said]
    breaks: Exception | None
    preparation: tuple[Any, ...] = ()
    final: Final = field(default_factory=Final)
    receipt: Proof = field(default_factory=Proof)
    disclosure: Left = field(default_factory=Left)

    async def __aiter__(self) -> AsyncIterator[Said]:
        for piece in self.pieces:
            await asyncio.sleep(0)
            yield piece
        if self.breaks is not None:
            raise self.breaks


@dataclass
class FakeCloud:
    """Answers each request with the next of ``answers``, and keeps what it was asked."""

    answers: list[list[Said]]
    breaks: Exception | None = None
    asked: list[CloudAsk] = field(default_factory=list)

    async def status(self) -> Status:
        return Status()

    @asynccontextmanager
    async def open(self, ask: CloudAsk, *, deadline_s: float) -> AsyncIterator[Stream]:
        self.asked.append(ask)
        yield Stream(self.answers[min(len(self.asked), len(self.answers)) - 1], self.breaks)

    async def close(self) -> None:
        pass


@dataclass
class Loader:
    text: TextModel
    engine: ScriptedEngine
    started: int = 0

    def locate(self) -> LocatedModel:
        return LocatedModel(name="tiny", path=Path("nowhere"), weights_sha256="ab" * 32)

    def load_text(self, model: LocatedModel) -> TextModel:
        return self.text

    async def start(self, model: LocatedModel) -> ScriptedEngine:
        self.started += 1
        return self.engine


@dataclass
class Stage:
    agent: AsyncAgent
    loader: Loader
    engine: ScriptedEngine

    def prompt(self, index: int = -1) -> str:
        """The text of a prompt the device model was given."""
        tokens = self.loader.text.tokens
        return b"".join(tokens.bytes_of(i) for i in self.engine.prompts[index]).decode()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load_text_model(write_tiny_model(tmp_path_factory.mktemp("tiny")))


MakeStage = Callable[..., Stage]


@pytest.fixture
def stage(tiny: TextModel, tmp_path: Path) -> MakeStage:
    """``stage("first answer", "second", cloud=…)``: what the device model says, in turn."""

    def make(*answers: str, cloud: Any = None, **settings: Any) -> Stage:
        scripts = [
            Script(ids=(*tiny.encode(answer), min(tiny.stop_ids))) for answer in answers or ("",)
        ]
        engine = ScriptedEngine(scripts, vocabulary=TINY_VOCABULARY, context_tokens=4096)
        loader = Loader(tiny, engine)
        runtime = Runtime(
            device=Device(loader, context_tokens=4096),
            cloud=EnrolledCloud(cloud),
            router=Router(Policy.load(None)),
            ledger=Ledger(tmp_path / "ledger.jsonl"),
            tracing=Tracing(None, environ={}),
            cloud_timeout_s=5.0,
        )
        agent = AsyncAgent(runtime, Settings(max_output_tokens=300, **settings))
        return Stage(agent, loader, engine)

    return make


@pytest.fixture
def fake_cloud() -> type[FakeCloud]:
    """``fake_cloud([[piece, …], …])``: what the cloud says, request by request."""
    return FakeCloud
