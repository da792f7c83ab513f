"""The agent with a real engine process and the real cloud client; only the network is in memory."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from device_agent.agent import AsyncAgent
from device_agent.enrolled import EnrolledCloud
from device_agent.options import Options
from device_agent.testing import InMemoryCloud, Script
from device_agent.traces import TraceStore, traces_path
from inference.testing import write_tiny_model
from lanai.errors import EngineCrashed, EvidenceRejected, StreamInterrupted
from lanai.folders import Folders
from lanai.telemetry import Span
from router.vocabulary import DataClass, Destination, Mode, Reason, Stage

SECRET_WORDS = "the harbour at noon is a private thing"
SHORT = Options(max_tokens=8)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders.below(tmp_path)


@pytest.fixture
def cloud() -> InMemoryCloud:
    return InMemoryCloud(script=Script(pieces=("from ", "the cloud")))


@pytest.fixture
async def agent(folders, tiny_model, cloud, tmp_path) -> AsyncIterator[AsyncAgent]:
    """From the settings, as apps make it; only the enrolled cluster is the one in memory."""
    made = AsyncAgent.from_config(
        folders=folders, device_model=str(tiny_model), device_context_tokens=256, device_threads=1
    )
    made._runtime = replace(made._runtime, cloud=EnrolledCloud(cloud.client(tmp_path)))
    async with made:
        yield made


async def test_the_device_answers_from_a_child_that_ends_with_the_agent(
    folders, tiny_model
) -> None:
    """One child process, started by the first request and gone after the block."""
    me = psutil.Process()
    before = set(me.children(recursive=True))
    async with AsyncAgent.from_config(
        folders=folders, device_model=str(tiny_model), device_context_tokens=256
    ) as agent:
        assert await agent.availability()
        assert set(me.children(recursive=True)) <= before
        reply = await agent.session().respond("hello", options=SHORT)
        children = set(me.children(recursive=True)) - before
        assert len(children) >= 1
    assert reply.source is Destination.DEVICE
    assert 0 < reply.usage.output_tokens <= 8
    assert not any(child.is_running() for child in children)


async def test_a_killed_engine_fails_one_request_and_is_replaced(agent) -> None:
    """kill -9 of the child between two requests: a typed error, then an answer."""
    before = set(psutil.Process().children())
    session = agent.session(mode=Mode.ONLY_ON_DEVICE)
    await session.respond("hello", options=SHORT)
    (child,) = set(psutil.Process().children()) - before
    child.kill()
    with pytest.raises(EngineCrashed):
        await session.respond("again", options=SHORT)
    assert len(session.transcript) == 2
    reply = await session.respond("again", options=SHORT)
    assert reply.source is Destination.DEVICE


async def test_a_sealed_request_and_its_proof(agent, cloud, folders) -> None:
    """A node opened it, the relay saw no word of it, and receipt, ledger and trace agree."""
    reply = await agent.session().respond(SECRET_WORDS * 8, options=SHORT)
    assert (reply.text, reply.source) == ("from the cloud", Destination.CLOUD)
    assert reply.decision.reason is Reason.OVER_DEVICE_CONTEXT
    assert cloud.bodies[0].messages[-1].text == SECRET_WORDS * 8
    assert not any(b"harbour" in payload for payload in cloud.relayed)
    assert reply.receipt is not None
    assert reply.receipt.node == cloud.answered_by[0].hex()
    assert reply.receipt.evidence == "unsafe_software"
    (left,) = agent.ledger.disclosures()
    assert (left.id, left.outcome, left.node) == (reply.trace_id, "answered", reply.receipt.node)
    assert left.node in left.nodes
    assert left.bytes_sent > len(SECRET_WORDS * 8)
    store = TraceStore.open(traces_path(folders))
    names = {span.name for span in store.spans(reply.trace_id)}
    store.close()
    assert {Span.CLOUD_VERIFY, Span.CLOUD_TOKEN, Span.CLOUD_SEAL, Span.CLOUD_STREAM} <= names


@pytest.mark.parametrize("held", [{"data_class": DataClass.SECRET}, {"consent": False}])
async def test_secret_data_reaches_no_wire(agent, cloud, held) -> None:
    """Nothing was relayed and no token was taken, though the app preferred the cloud."""
    session = agent.session(mode=Mode.PREFER_IN_CLOUD, **held)
    reply = await session.respond("hello", options=SHORT)
    assert reply.source is Destination.DEVICE
    assert (cloud.relayed, cloud.issued, cloud.bodies) == ([], 0, [])


async def test_evidence_that_is_not_acceptable_sends_nothing(agent, cloud) -> None:
    """The device answers where it may and says why; else a trust error, exit code 10."""
    for bundle in cloud.bundles:
        bundle.evidence[0].payload = bundle.evidence[0].payload[:-1] + b"\x00"
    reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello", options=SHORT)
    assert (reply.source, reply.decision.reason) == (Destination.DEVICE, Reason.CLOUD_NOT_VERIFIED)
    with pytest.raises(EvidenceRejected) as raised:
        await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("hello")
    assert raised.value.exit_code == 10
    # Questions for nodes went through the relay, a request did not, and nothing was paid.
    assert (cloud.bodies, cloud.spent, cloud.issued) == ([], set(), 0)
    assert agent.ledger.disclosures() == ()


async def test_a_cluster_that_is_down_leaves_the_device(agent, cloud) -> None:
    """And the reply says why the wish was not met."""
    cloud.script.unreachable = True
    reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello", options=SHORT)
    assert (reply.source, reply.decision.reason) == (Destination.DEVICE, Reason.CLOUD_UNREACHABLE)


async def test_a_cluster_that_dies_between_status_and_request_falls_back(agent, cloud) -> None:
    """Its status is remembered, so the failure shows on opening: stage fallback."""
    assert (await agent.availability()).cloud.ready
    cloud.script.unreachable = True
    reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello", options=SHORT)
    assert (reply.source, reply.decision.stage) == (Destination.DEVICE, Stage.FALLBACK)


async def test_a_stream_cut_after_its_first_text_is_no_answer(agent, cloud) -> None:
    """A typed error, no reply, the transcript as before."""
    cloud.script.cut_after = 2
    session = agent.session(mode=Mode.PREFER_IN_CLOUD)
    async with session.stream("hello") as stream:
        assert (await anext(stream)).text == "from "
        with pytest.raises(StreamInterrupted):
            await anext(stream)
    assert session.transcript == ()
    assert [each.outcome for each in agent.ledger.disclosures()] == ["StreamInterrupted"]
