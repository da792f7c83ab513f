"""Both paths, side by side in one process: device, relay, gateway, node, over TLS on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.paced_engine import Pace, PacedEngine
from bench.unsafe_plain import UnsafePlainGateway, UnsafePlainNode, unsafe_plain_answer
from cloud_node.events import EventLog
from cloud_node.node.answer import Answerer
from cloud_node.node.engine_host import EngineHost
from cloud_node.node.load import Load
from cloud_node.testing import UnsafeCloud
from device_agent.cloud import Account, CheckpointStore, CloudClient, CloudRequest, Wallet
from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport
from device_agent.cloud_seam import CloudAsk
from inference.engine import Sampling
from inference.testing import write_tiny_model
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.content import Content
from lanai.telemetry import Span
from trust.tokens import TokenIssuer, begin

__all__ = ["Paths", "Timed", "open_paths", "request_of"]

NODES: Final = 3
CONTEXT: Final = 4096
STEPS: Final = (Span.CLOUD_VERIFY, Span.CLOUD_TOKEN, Span.CLOUD_SEAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One answer: seconds to its first text and to its end; steps of the device in µs."""

    first_s: float
    total_s: float
    steps_us: tuple[int, ...] = ()


class UnsafePlainCloud(UnsafeCloud):
    """Relay and gateway that carry plain frames to one plain node."""

    plain_channel: Any = None

    def make_gateway(self, roster: Any, keys: Any) -> Any:
        return UnsafePlainGateway(self.plain_channel)


@dataclass(slots=True, kw_only=True)
class Paths:
    """What is measured. ``pace`` sets the engines' pace on both sides."""

    client: CloudClient
    plain: GrpcRelayTransport
    engines: list[PacedEngine]
    cloud: UnsafeCloud
    wallet: Wallet

    def pace(self, pace: Pace) -> None:
        for engine in self.engines:
            engine.pace = pace

    async def fill(self, count: int) -> None:
        """``count`` tokens for the wallet: what is measured is spending, not issuing."""
        await asyncio.to_thread(self._fill, count)

    async def sealed(self, request: CloudRequest) -> Timed:
        """One request through `CloudClient`, all of it."""
        began, first = time.perf_counter(), 0.0
        async with self.client.open(request, deadline_s=60) as stream:
            async for _ in stream:
                first = first or time.perf_counter()
            steps = {item.name: item.duration_us for item in stream.preparation}
        ended = time.perf_counter()
        taken = tuple(steps[name] for name in STEPS)
        return Timed(first_s=first - began, total_s=ended - began, steps_us=taken)

    async def unsealed(self, request: CloudRequest) -> Timed:
        """The same request, in the clear."""
        began, first = time.perf_counter(), 0.0
        async for _ in unsafe_plain_answer(self.plain, request):
            first = first or time.perf_counter()
        return Timed(first_s=first - began, total_s=time.perf_counter() - began)

    def _fill(self, count: int) -> None:
        [key] = self.cloud.rings["issuer"].read()
        issuer, now = TokenIssuer.from_pem(key.pem), time.time()
        pending = begin(issuer.spki, bytes.fromhex(self.cloud.root.token_challenge), count)
        tokens = pending.finish([issuer.sign(item) for item in pending.blinded])
        self.wallet.add(tokens, key_id=issuer.key_id, expires_at=key.record.expires_at, now=now)


@asynccontextmanager
async def open_paths(folder: Path) -> AsyncIterator[Paths]:
    """Start both paths below ``folder``; ends everything on leaving."""
    text = load_text_model(write_tiny_model(folder / "tiny"))
    [token_id] = text.encode("x")
    engines: list[PacedEngine] = []

    async def start() -> Any:
        engines.append(PacedEngine(token_id, Pace()))
        return engines[-1]

    async with AsyncExitStack() as closing:
        cloud = await UnsafeCloud.start(
            folder / "sealed", text=text, engines=[start] * NODES, context_tokens=CONTEXT
        )
        closing.push_async_callback(cloud.close)
        plain = await _plain(folder / "plain", text, start, cloud.events, closing)
        wallet = Wallet.of(cloud.root, folder / "wallet.json")
        client = CloudClient(
            cloud.root,
            transport=GrpcRelayTransport(cloud.root.relay),
            issuer=GrpcIssuerTransport(cloud.root.issuer),
            account=Account(account=cloud.account, credential=cloud.credential),
            wallet=wallet,
            checkpoints=CheckpointStore.of(cloud.root, folder / "checkpoints"),
            seal_to_nodes=NODES,
        )
        closing.push_async_callback(client.close)
        yield Paths(client=client, plain=plain, engines=engines, cloud=cloud, wallet=wallet)


async def _plain(
    folder: Path, text: TextModel, start: Any, events: EventLog, closing: AsyncExitStack
) -> GrpcRelayTransport:
    host = EngineHost(start, Load(max_live=256), events)
    await host.start()
    closing.push_async_callback(host.close)
    node = UnsafePlainNode(Answerer(text, host, model="toy", context_tokens=CONTEXT))
    channel = await node.start()
    closing.push_async_callback(node.close)
    closing.push_async_callback(channel.close, None)

    class Cloud(UnsafePlainCloud):
        plain_channel = channel

    cloud = await Cloud.start(folder, text=text, engines=[])
    closing.push_async_callback(cloud.close)
    transport = GrpcRelayTransport(cloud.root.relay)
    closing.push_async_callback(transport.close)
    return transport


def request_of(size: int, tokens: int) -> CloudRequest:
    """A question of ``size`` characters, to be answered with ``tokens`` tokens."""
    message = ChatMessage(role="user", text=Content("q" * size))
    return CloudAsk(messages=(message,), max_tokens=tokens, sampling=Sampling(), stop=())
