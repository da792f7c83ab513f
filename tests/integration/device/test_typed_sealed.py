"""Typed answers and tools in a real cloud on loopback: relay, gateway, issuer, node, worker."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from cloud_node.testing import UnsafeCloud
from device_agent import AsyncAgent, Choices, Destination, Mode
from device_agent.cloud import CloudClient
from device_agent.cloud.account import Account
from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport
from device_agent.cloud.wallet import Wallet
from device_agent.enrolled import EnrolledCloud
from inference.testing import Script, ScriptedEngine, write_tiny_model
from inference.testing.tiny_model import TINY_VOCABULARY
from inference.text import TextModel, load_text_model
from lanai.folders import Folders

CONTEXT = 4096


class Answer(BaseModel):
    mood: Literal["good", "bad"]
    certain: bool


@dataclass
class Site:
    """A device of a running cloud, and the model it talks to."""

    agent: AsyncAgent
    engine: ScriptedEngine
    text: TextModel

    def prompts(self) -> list[str]:
        """What the cloud's model was given, as text."""
        spell = self.text.tokens.bytes_of
        return [b"".join(map(spell, ids)).decode() for ids in self.engine.prompts]


@pytest.fixture
def said() -> list[str]:
    """What the cloud's model would like to say, request by request."""
    return ["I am fine, thank you."]


@pytest.fixture
async def site(tmp_path: Path, said: list[str]) -> AsyncIterator[Site]:
    text = load_text_model(write_tiny_model(tmp_path / "tiny"))
    scripts = [Script(ids=(*text.encode(answer), min(text.stop_ids))) for answer in said]
    engine = ScriptedEngine(scripts, vocabulary=TINY_VOCABULARY, context_tokens=CONTEXT)

    async def start() -> ScriptedEngine:
        return engine

    cloud = await UnsafeCloud.start(tmp_path, text=text, engines=[start], context_tokens=CONTEXT)
    try:
        async with agent_of(cloud, tmp_path) as agent:
            yield Site(agent, engine, text)
    finally:
        await cloud.close()


def agent_of(cloud: UnsafeCloud, tmp_path: Path) -> AsyncAgent:
    """From the settings; only the enrolled cluster is the one at hand."""
    client = CloudClient(
        cloud.root,
        transport=GrpcRelayTransport(cloud.root.relay),
        issuer=GrpcIssuerTransport(cloud.root.issuer),
        account=Account(account=cloud.account, credential=cloud.credential),
        wallet=Wallet.of(cloud.root, tmp_path / "wallet.json"),
        checkpoints=CheckpointStore.of(cloud.root, tmp_path / "checkpoints"),
        seal_to_nodes=1,
    )
    folders = Folders.below(tmp_path / "home")
    agent = AsyncAgent.from_config(folders=folders, mode=Mode.ONLY_IN_CLOUD.value)
    agent._runtime = replace(agent._runtime, cloud=EnrolledCloud(client))
    return agent


async def test_a_sealed_answer_is_of_its_type(site: Site) -> None:
    """The worker holds the model to the form that came under the seal."""
    reply = await site.agent.session().respond("How are you?", into=Answer)
    assert (reply.source, type(reply.value)) == (Destination.CLOUD, Answer)
    assert reply.receipt is not None


@pytest.mark.parametrize("said", [["fine"]])
async def test_choices_in_the_cloud(site: Site) -> None:
    """One of the choices, whole."""
    choices = Choices(options=("awful", "fine"))
    assert (await site.agent.session().respond("?", into=choices)).value == "fine"


CALL = '<tool_call>\n{"name": "clock", "arguments": {"zone": "CET"}}\n</tool_call>'


def clock(zone: str) -> str:
    """The time of day."""
    return f"noon, {zone}"


@pytest.mark.parametrize("said", [[CALL, "It is noon."]])
async def test_a_tool_round_trip_takes_two_sealed_requests(site: Site) -> None:
    """The call comes home, the function runs here, its result leaves in a request of its own."""
    reply = await site.agent.session().respond("What time is it?", tools=[clock])
    assert (reply.text, [str(run.result) for run in reply.tool_runs]) == (
        "It is noon.", ["noon, CET"],
    )  # fmt: skip
    first, second = site.prompts()
    assert '"description": "The time of day."' in first
    assert "noon, CET" not in first
    assert CALL in second
    assert "<tool_response>\nnoon, CET\n</tool_response>" in second
    assert len(site.agent.ledger.disclosures()) == 2
