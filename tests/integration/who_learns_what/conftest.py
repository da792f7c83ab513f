"""A cloud in this process whose every party writes down what it was shown."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud_node.gateway.service import GatewayService
from cloud_node.issuer.service import IssuerService
from cloud_node.node import epoch
from cloud_node.node.front import Front
from cloud_node.relay import RelayService
from cloud_node.store import MemoryStore
from cloud_node.testing import UnsafeCloud
from device_agent.cloud import Account, CheckpointStore, CloudClient, CloudRequest, Wallet
from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport
from inference.engine import Sampling
from inference.testing import Script, ScriptedEngine, write_tiny_model
from inference.testing.tiny_model import TINY_VOCABULARY
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.content import Content

END = 258
QUESTION, ANSWER = "canary question", "canary answer"


class Seen:
    """Bytes by party, as they were shown: payloads, metadata, peer addresses."""

    def __init__(self) -> None:
        self._of: dict[str, list[bytes]] = defaultdict(list)
        self.device_address = ""
        """Host and port the relay saw the device at."""
        self.exchange: list[Any] = []
        """Frames of the device's last exchange, as the relay had them."""

    def note(self, party: str, *shown: bytes | str) -> None:
        self._of[party] += [s.encode() if isinstance(s, str) else s for s in shown]

    def context(self, party: str, context: Any) -> None:
        """Peer address and metadata of a call."""
        self.note(party, context.peer())
        for key, value in context.invocation_metadata():
            self.note(party, key, value)

    def count(self, party: str) -> int:
        return len(self._of[party])

    def shown(self, party: str) -> list[bytes]:
        return self._of[party]

    def everything(self, party: str) -> bytes:
        return b"\0\0".join(self._of[party])

    def parties(self) -> Iterable[str]:
        return self._of.keys()


def watched_relay(seen: Seen) -> type[RelayService]:
    class WatchedRelay(RelayService):
        async def Exchange(self, request_iterator, context):  # noqa: N802
            seen.exchange = []

            async def noted():
                async for frame in request_iterator:
                    seen.note("relay", frame.SerializeToString())
                    seen.exchange.append(frame)
                    yield frame

            seen.context("relay", context)
            seen.device_address = context.peer()
            async for frame in super().Exchange(noted(), context):
                seen.note("relay", frame.SerializeToString())
                yield frame

        async def Fetch(self, request, context):  # noqa: N802
            seen.context("relay", context)
            answer = await super().Fetch(request, context)
            seen.note("relay", request.SerializeToString(), answer.SerializeToString())
            return answer

        async def Keys(self, request, context):  # noqa: N802
            seen.context("relay", context)
            answer = await super().Keys(request, context)
            seen.note("relay", request.SerializeToString(), answer.SerializeToString())
            return answer

    return WatchedRelay


class LeakyRelay:
    """The relay's stub of the gateway, wrapped: it tells the device's address."""

    def __init__(self, gateway: Any, address: Callable[[], str]) -> None:
        self._gateway = gateway
        self._address = address

    def Exchange(self, frames, **call):  # noqa: N802
        return self._gateway.Exchange(frames, metadata=(("x-forwarded-for", self._address()),))

    def Fetch(self, frame, **call):  # noqa: N802
        return self._gateway.Fetch(frame)

    def Keys(self, request, **call):  # noqa: N802
        return self._gateway.Keys(request)


def watched_gateway(seen: Seen) -> type[GatewayService]:
    class Opened:
        """What the gateway reads once the outer seal is off."""

        def __init__(self, frames) -> None:
            self._frames = frames

        @property
        def ended(self):
            return self._frames.ended

        async def next(self):
            frame = await self._frames.next()
            seen.note("gateway", frame or b"")
            return frame

    class WatchedGateway(GatewayService):
        async def Exchange(self, request_iterator, context):  # noqa: N802
            seen.context("gateway", context)
            async for frame in super().Exchange(request_iterator, context):
                yield frame

        async def Fetch(self, request, context):  # noqa: N802
            seen.context("gateway", context)
            return await super().Fetch(request, context)

        async def _exchange(self, frames):
            async for payload in super()._exchange(Opened(frames)):
                seen.note("gateway", payload)
                yield payload

        async def _fetch(self, payload):
            answer = await super()._fetch(payload)
            seen.note("gateway", payload, answer)
            return answer

    return WatchedGateway


def watched_issuer(seen: Seen) -> type[IssuerService]:
    class WatchedIssuer(IssuerService):
        async def Issue(self, request, context):  # noqa: N802
            seen.context("issuer", context)
            answer = await super().Issue(request, context)
            seen.note("issuer", request.SerializeToString(), answer.SerializeToString())
            return answer

    return WatchedIssuer


def watched_front(seen: Seen) -> type[Front]:
    class WatchedContext:
        """What the node's port reads and writes."""

        def __init__(self, context) -> None:
            self._context = context

        async def read(self):
            frame = await self._context.read()
            if hasattr(frame, "SerializeToString"):
                seen.note("node", frame.SerializeToString())
            return frame

        def __getattr__(self, name):
            return getattr(self._context, name)

    class WatchedFront(Front):
        async def infer(self, requests, context):
            seen.context("node", context)
            await super().infer(requests, WatchedContext(context))

    return WatchedFront


class WatchedStore(MemoryStore):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    async def spend_token(self, token_hash, *, ttl_s):
        self._seen.note("store", token_hash)
        return await super().spend_token(token_hash, ttl_s=ttl_s)

    async def burn_request(self, request_id, *, ttl_s):
        self._seen.note("store", request_id)
        return await super().burn_request(request_id, ttl_s=ttl_s)

    async def announce(self, node_id, announcement, *, ttl_s):
        self._seen.note("store", node_id, announcement)
        await super().announce(node_id, announcement, ttl_s=ttl_s)


@dataclass(kw_only=True)
class WatchedCell:
    """The cloud, a device of it, and what everybody saw."""

    cloud: UnsafeCloud
    client: CloudClient
    seen: Seen
    engines: list[ScriptedEngine]
    text: TextModel

    async def ask(self, question: str = QUESTION) -> str:
        """One whole request; the answer's text."""
        request = CloudRequest(
            messages=(ChatMessage(role="user", text=Content(question)),),
            max_tokens=40,
            sampling=Sampling(),
            stop=(),
        )
        async with asyncio.timeout(20), self.client.open(request, deadline_s=15) as stream:
            answer = "".join([str.__str__(piece) async for piece in stream])
        for engine in self.engines:
            for prompt in engine.prompts:
                self.seen.note("node", decoded(self.text, prompt))
        self.seen.note("telemetry", self.cloud.said.getvalue())
        return answer

    async def replay(self) -> list[bytes]:
        """The relay sends the last exchange's frames to the gateway again; what came back."""
        frames = list(self.seen.exchange)

        async def again() -> AsyncIterator[Any]:
            for frame in frames:
                yield frame

        return [frame.payload async for frame in self.cloud.gateway.Exchange(again(), timeout=10)]


def decoded(text: TextModel, ids: Iterable[int]) -> str:
    stream = text.decoder()
    return "".join(map(stream.push, ids)) + stream.finish()


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load_text_model(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
async def make_cell(
    tmp_path: Path, tiny_text: TextModel, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    made: list[WatchedCell] = []

    async def make(*, leaking: bool = False) -> WatchedCell:
        seen, engines = Seen(), []
        monkeypatch.setattr(epoch, "Front", watched_front(seen))

        class WatchedCloud(UnsafeCloud):
            account = "the-device-account"
            credential = bytes(range(100, 132))

            def __init__(self, folder: Path) -> None:
                super().__init__(folder)
                self.store = WatchedStore(seen)

            def make_relay(self, gateway, config):
                if leaking:
                    gateway = LeakyRelay(gateway, lambda: seen.device_address)
                return watched_relay(seen)(gateway, config, self.events)

            def make_gateway(self, roster, keys):
                monkeypatch.setattr(
                    "cloud_node.testing.cloud.GatewayService", watched_gateway(seen)
                )
                return super().make_gateway(roster, keys)

            def make_issuer(self, keys, book):
                return watched_issuer(seen)(keys, book, self.events)

        async def engine() -> ScriptedEngine:
            scripts = [Script(ids=(*tiny_text.encode(ANSWER), END))]
            engines.append(ScriptedEngine(scripts, vocabulary=TINY_VOCABULARY, context_tokens=256))
            return engines[-1]

        cloud = await WatchedCloud.start(tmp_path / "cloud", text=tiny_text, engines=[engine] * 3)
        client = CloudClient(
            cloud.root,
            transport=GrpcRelayTransport(cloud.root.relay),
            issuer=GrpcIssuerTransport(cloud.root.issuer),
            account=Account(account=cloud.account, credential=cloud.credential),
            wallet=Wallet.of(cloud.root, tmp_path / "wallet.json"),
            checkpoints=CheckpointStore.of(cloud.root, tmp_path / "checkpoints"),
            seal_to_nodes=2,
            token_batch=4,
        )
        cell = WatchedCell(cloud=cloud, client=client, seen=seen, engines=engines, text=tiny_text)
        made.append(cell)
        return cell

    yield make
    for cell in made:
        await cell.client.close()
        await cell.cloud.close()
