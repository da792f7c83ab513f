"""A node in this process: real keys, envelope, port and text model; a scripted engine and store."""

import io
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from cloud_node.events import Component, EventLog
from cloud_node.identity import certificate_pem, open_channel
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.epoch import EpochPlan
from cloud_node.node.front import Shared
from cloud_node.node.load import Load
from cloud_node.node.node import Node
from cloud_node.store import MemoryStore
from cloud_node.testing import WorldLog
from cloud_node.testing.thread_tree import UnsafeThreadTree
from cloud_node.tree.worker import Room
from inference.testing import Script, ScriptedEngine, write_tiny_model
from inference.testing.tiny_model import TINY_VOCABULARY
from inference.text import TextModel, load_text_model
from protos.lanai.v1alpha import envelope_pb2, node_pb2, node_pb2_grpc
from trust.attestation import UnsafeSoftwareAttester
from trust.envelope import SealedChunk, SealedRequest, seal_request
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.verification import VerifiedNode

CONTEXT = 256
END = 258
"""The tiny model's end-of-turn id."""


@dataclass(kw_only=True)
class Outcome:
    """What a caller of ``Infer`` saw: opened frames, or the status that ended the call."""

    frames: list[envelope_pb2.AnswerFrame] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    finished: bool = False
    refusal: str | None = None

    @property
    def text(self) -> str:
        return "".join(frame.text for frame in self.frames)

    @property
    def last(self) -> envelope_pb2.AnswerFrame:
        return self.frames[-1]


@dataclass(kw_only=True)
class Cell:
    """The node and what a test needs around it."""

    node: Node
    engine: ScriptedEngine
    tree: UnsafeThreadTree
    text: TextModel
    store: MemoryStore
    world: UnsafeTrustWorld
    log: WorldLog
    load: Load
    output: io.StringIO

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def verified(self) -> VerifiedNode:
        """The node as a device sees it, by the real verifier."""
        return self.world.verifier().verify(self.node.epoch.bundle)

    def seal(self, body: bytes | None = None, **fields: Any) -> SealedRequest:
        """A request as a device seals it. ``fields`` replace the body's."""
        if body is None:
            body = request_body(**fields).SerializeToString()
        return seal_request(
            body,
            [self.verified()],
            token_hash=b"t" * 32,
            policy_digest=b"p" * 32,
            expires_at=int(time.time()) + 60,
        )

    def channel(self) -> grpc.aio.Channel:
        epoch = self.node.epoch
        return open_channel(epoch.address, certificate_pem(epoch.bundle.tls_certificate))

    async def ask(
        self, sealed: SealedRequest, *, chunks: Sequence[SealedChunk] | None = None
    ) -> Outcome:
        """Send it whole, or with other chunks, and open what comes back."""
        outcome = Outcome()
        async with self.channel() as channel:
            call = node_pb2_grpc.NodeStub(channel).Infer(stream_of(sealed, chunks))
            try:
                async for response in call:
                    take(outcome, sealed, response)
            except grpc.aio.AioRpcError as error:
                outcome.refusal = error.details()
        return outcome


def request_body(**fields: Any) -> envelope_pb2.RequestBody:
    said = {"messages": [{"role": "user", "text": "Hi"}], "max_tokens": 40, "top_p": 1.0}
    return envelope_pb2.RequestBody(**(said | fields))


async def stream_of(
    sealed: SealedRequest, chunks: Sequence[SealedChunk] | None = None
) -> AsyncIterator[node_pb2.InferRequest]:
    yield node_pb2.InferRequest(header=sealed.header.to_proto())
    for chunk in sealed.chunks if chunks is None else chunks:
        yield node_pb2.InferRequest(chunk=envelope_pb2.Chunk(data=chunk.data, last=chunk.last))


def take(outcome: Outcome, sealed: SealedRequest, response: node_pb2.InferResponse) -> None:
    if response.WhichOneof("frame") == "server_nonce":
        return sealed.opener.start(response.server_nonce)
    outcome.sizes.add(len(response.chunk.data))
    message = sealed.opener.open(SealedChunk(data=response.chunk.data, last=response.chunk.last))
    if message is not None:
        outcome.frames.append(envelope_pb2.AnswerFrame.FromString(message))
    outcome.finished = sealed.opener.finished
    return None


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load_text_model(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def said() -> str:
    """What the scripted engine answers."""
    return "Hello, world"


@pytest.fixture
def scripts(tiny_text: TextModel, said: str) -> list[Script]:
    return [Script(ids=(*tiny_text.encode(said), END))]


@pytest.fixture
def options() -> dict[str, Any]:
    """Overrides of a test: ``max_live``, ``request_timeout_s``, ``key_lifetime_s`` …"""
    return {}


@pytest.fixture
async def cell(
    tiny_text: TextModel, scripts: list[Script], options: dict[str, Any]
) -> AsyncIterator[Cell]:
    output = io.StringIO()
    events = EventLog(Component.NODE, stream=output)
    load = Load(max_live=options.get("max_live", 4))
    context = options.get("context_tokens", CONTEXT)
    engine = ScriptedEngine(scripts, vocabulary=TINY_VOCABULARY, context_tokens=context)
    timeout_s = options.get("request_timeout_s", 30.0)
    world, store = UnsafeTrustWorld(now=int(time.time())), MemoryStore()
    log = WorldLog(world)
    log.append(unsafe_release().canonical())
    room = Room(text=tiny_text, model="tiny", context_tokens=context, timeout_s=timeout_s)
    attester = UnsafeSoftwareAttester(world.operator_key, unsafe_release())
    tree = UnsafeThreadTree([attester], room, engine, events, clock=time.time)
    shared = Shared(
        store=store,
        load=load,
        keyholding=tree.keyholding,
        log=events,
        request_timeout_s=timeout_s,
    )
    plan = EpochPlan(
        name="node-0",
        host="127.0.0.1",
        key_lifetime_s=options.get("key_lifetime_s", 3600),
        announce_s=60.0,
        shared=shared,
        bundles=BundleMaker(unsafe_release(), log),
    )
    node = Node(plan, log, refresh_s=60.0, drain_s=5.0)
    await node.start()
    yield Cell(
        node=node,
        engine=engine,
        tree=tree,
        text=tiny_text,
        store=store,
        world=world,
        log=log,
        load=load,
        output=output,
    )
    await node.close()
    await engine.close()
    await tree.close()
