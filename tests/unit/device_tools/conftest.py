"""An agent over scripted engines with a real text model, real masks and a scripted cloud."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted_places import ScriptedCloud, ScriptedLoader

from device_agent.agent import AsyncAgent
from device_agent.enrolled import EnrolledCloud
from device_agent.ledger import Ledger
from device_agent.local import Device
from device_agent.runtime import Runtime
from device_agent.tracing import Tracing
from inference.testing import Script, ScriptedEngine, write_tiny_model
from inference.testing.tiny_model import TINY_VOCABULARY
from inference.text import TextModel, ToolCall, load_text_model
from lanai.content import Content
from lanai.settings import Settings
from router import Policy, Router


@dataclass
class Stage:
    agent: AsyncAgent
    loader: ScriptedLoader
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
        loader = ScriptedLoader([engine], tiny)
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
def fake_cloud() -> Callable[..., ScriptedCloud]:
    """``fake_cloud([[piece, …], …])``: what the cloud says, request by request."""

    def make(rounds: Sequence[Sequence[Content | ToolCall]], **more: Any) -> ScriptedCloud:
        return ScriptedCloud(rounds=rounds, **more)

    return make
