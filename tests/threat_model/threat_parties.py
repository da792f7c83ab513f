"""Hostile parties. Each has all that its place in the system gives it, and the will to use it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from grpc import aio
from threat_stage import NodeParty, Stage
from threat_wire import Line, NodeCall, listed

from cloud_node.events import Component, EventLog
from cloud_node.gateway.reading import read_open, read_request
from cloud_node.gateway.unsealing import SealedFrames
from cloud_node.intake import Intake
from cloud_node.refusals import refusing
from cloud_node.store import MemoryStore
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import node_pb2
from protos.lanai.v1alpha.gateway_pb2 import KeysRequest, KeysResponse, Opaque, Open
from trust.ohttp import GatewayKeys

__all__ = ["ForgetfulStore", "HostileGateway", "HostileRelay", "LyingStore", "infer"]

TIMEOUT_S = 20.0
Request = Sequence[node_pb2.InferRequest]


class HostileRelay(Line):
    """On the path between device and gateway: sees every payload, and hands on what it likes.

    ``up`` and ``down`` turn the payloads of one exchange into those that are handed on.
    """

    def __init__(self, service: Any) -> None:
        super().__init__(service)
        self.seen: list[bytes] = []
        self.exchanges: list[list[bytes]] = []
        self.up: Callable[[list[bytes]], list[bytes]] = list
        self.down: Callable[[list[bytes]], list[bytes]] = list
        self.shown_keys: Callable[[bytes], bytes] = bytes

    async def exchange(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        sent = [frame async for frame in frames]
        self.seen += sent
        self.exchanges.append(sent)
        answer = [piece async for piece in super().exchange(listed(self.up(sent)))]
        self.seen += answer
        for piece in self.down(answer):
            yield piece

    async def fetch(self, payload: bytes) -> bytes:
        answer = await super().fetch(payload)
        self.seen += [payload, answer]
        return answer

    async def keys(self) -> bytes:
        return self.shown_keys(await super().keys())


class LyingStore(MemoryStore):
    """Says of everything that it is new."""

    async def burn_request(self, request_id: bytes, *, ttl_s: int) -> bool:
        return True

    async def spend_token(self, token_hash: bytes, *, ttl_s: int) -> bool:
        return True


class ForgetfulStore(MemoryStore):
    """Shows a roster of its own making."""

    def __init__(self, shown: dict[bytes, bytes]) -> None:
        super().__init__()
        self.shown = shown

    async def roster(self) -> dict[bytes, bytes]:
        return self.shown


async def infer(party: NodeParty, request: Request) -> list[bytes]:
    """Send frames to a node's own port; its answer's, or the ``AioRpcError`` it refused with."""
    call = NodeCall(party.front, listed(request))
    return [frame async for frame in call]


class HostileGateway:
    """Holds the gateway's own key, so it opens the outer seal; the envelope inside stays shut.

    ``act`` is what it does with an exchange; what it learned from each is in ``taken``.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._log = EventLog(Component.GATEWAY)
        self._keys = GatewayKeys([stage.gateway_key])
        self.taken: list[tuple[Open, Request]] = []
        self.act: Callable[[Open, Request], AsyncGenerator[bytes, None]] = self.honestly
        self.shown_keys: KeysResponse | None = None

    async def Exchange(self, frames: Any, context: Any) -> AsyncIterator[Opaque]:  # noqa: N802
        intake = Intake(frames)
        async with refusing(context, self._log, intake):
            sealed = await SealedFrames.begin(intake, self._keys, timeout_s=TIMEOUT_S)
            async with aclosing(sealed.answer(self._take(sealed), self._log)) as pieces:
                async for piece in pieces:
                    yield Opaque(payload=piece)

    async def Fetch(self, request: Opaque, context: Any) -> Opaque:  # noqa: N802
        return await self._stage.gateway.Fetch(request, context)

    async def Keys(self, request: KeysRequest, context: Any) -> KeysResponse:  # noqa: N802
        return self.shown_keys or await self._stage.gateway.Keys(request, context)

    async def honestly(self, opened: Open, request: Request) -> AsyncGenerator[bytes, None]:
        """To the first of the request's nodes, without asking for a token."""
        for frame in await infer(self.addressed(opened)[0], request):
            yield frame

    def addressed(self, opened: Open) -> list[NodeParty]:
        """The nodes this request was sealed to."""
        ids = {key.node_id for key in opened.header.keys}
        return [party for party in self._stage.parties if party.node_id in ids]

    async def everywhere(self, opened: Open, request: Request) -> AsyncGenerator[bytes, None]:
        """To every node there is, twice; the first answer is handed on."""
        answers = []
        for party in self._stage.parties * 2:
            try:
                answers.append(await infer(party, request))
            except aio.AioRpcError:
                continue
        if not answers:
            raise CloudRefused("none", refusal=RefusalCode.NO_NODE)
        for frame in answers[0]:
            yield frame

    async def _take(self, sealed: SealedFrames) -> AsyncGenerator[bytes, None]:
        opened = await read_open(sealed, timeout_s=TIMEOUT_S)
        request = await read_request(opened, sealed, timeout_s=TIMEOUT_S)
        self.taken.append((opened, request))
        async with aclosing(self.act(opened, request)) as frames:
            async for frame in frames:
                yield frame
