"""Both paths side by side: the device here, each path's cloud in a process of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.paced_engine import Pace
from bench.seal_cloud import NODES, CloudSide
from bench.unsafe_plain import unsafe_plain_answer
from cloud_node.keyring import KeyRing
from cloud_node.testing import UnsafeCloud
from device_agent.cloud import Account, CheckpointStore, CloudClient, CloudRequest, Wallet
from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport
from device_agent.cloud_seam import CloudAsk
from inference.engine import Sampling
from inference.testing import write_tiny_model
from inference.text import ChatMessage
from lanai.content import Content
from lanai.telemetry import Span
from trust.tokens import TokenIssuer, begin

__all__ = ["Paths", "Timed", "open_paths", "request_of"]

STEPS: Final = (Span.CLOUD_VERIFY, Span.CLOUD_TOKEN, Span.CLOUD_SEAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One answer: seconds to its first text and to its end; steps of the device in µs."""

    first_s: float
    total_s: float
    steps_us: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class Paths:
    """What is measured. ``pace`` sets the engines' pace on both sides."""

    client: CloudClient
    plain: GrpcRelayTransport
    sides: tuple[CloudSide, CloudSide]
    issuer_keys: KeyRing
    wallet: Wallet

    async def pace(self, pace: Pace) -> None:
        for side in self.sides:
            await side.pace(pace)

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
        [key] = self.issuer_keys.read()
        issuer, now = TokenIssuer.from_pem(key.pem), time.time()
        challenge = bytes.fromhex(self.sides[0].root.token_challenge)
        pending = begin(issuer.spki, challenge, count)
        tokens = pending.finish([issuer.sign(item) for item in pending.blinded])
        self.wallet.add(tokens, key_id=issuer.key_id, expires_at=key.record.expires_at, now=now)


@asynccontextmanager
async def open_paths(folder: Path) -> AsyncIterator[Paths]:
    """Start both paths below ``folder``; ends everything on leaving."""
    model = write_tiny_model(folder / "tiny")
    async with AsyncExitStack() as closing:
        sealed, plain = await asyncio.gather(
            *(CloudSide.start(kind, folder / kind, model) for kind in ("sealed", "plain"))
        )
        for side in (sealed, plain):
            closing.push_async_callback(side.close)
        wallet = Wallet.of(sealed.root, folder / "wallet.json")
        client = CloudClient(
            sealed.root,
            transport=GrpcRelayTransport(sealed.root.relay),
            issuer=GrpcIssuerTransport(sealed.root.issuer),
            account=Account(account=UnsafeCloud.account, credential=UnsafeCloud.credential),
            wallet=wallet,
            checkpoints=CheckpointStore.of(sealed.root, folder / "checkpoints"),
            seal_to_nodes=NODES,
        )
        closing.push_async_callback(client.close)
        transport = GrpcRelayTransport(plain.root.relay)
        closing.push_async_callback(transport.close)
        yield Paths(
            client=client,
            plain=transport,
            sides=(sealed, plain),
            issuer_keys=KeyRing(folder / "sealed" / "issuer", "issuer"),
            wallet=wallet,
        )


def request_of(size: int, tokens: int) -> CloudRequest:
    """A question of ``size`` characters, to be answered with ``tokens`` tokens."""
    message = ChatMessage(role="user", text=Content("q" * size))
    return CloudAsk(messages=(message,), max_tokens=tokens, sampling=Sampling(), stop=())
