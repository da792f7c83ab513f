"""The gateway's three methods."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import aio

from cloud_node.admission import Admission
from cloud_node.events import EventLog
from cloud_node.gateway.announcements import Consistency
from cloud_node.gateway.dispatch import dispatch
from cloud_node.gateway.files import Files
from cloud_node.gateway.keys import LoggedKeys
from cloud_node.gateway.reading import Frames, read_open, read_request
from cloud_node.gateway.roster import Roster
from cloud_node.gateway.spends import SpendVerifier
from cloud_node.gateway.unsealing import OpeningKeys, SealedFrames, answer_sealed
from cloud_node.intake import Intake
from cloud_node.refusals import refusing
from cloud_node.store import Store
from lanai.errors import CloudRefused, RefusalCode, TrustError
from protos.lanai.v1alpha import gateway_pb2_grpc as stubs
from protos.lanai.v1alpha.gateway_pb2 import (
    ConsistencyRequest,
    ConsistencyResponse,
    FetchRequest,
    FetchResponse,
    KeysRequest,
    KeysResponse,
    Opaque,
    Open,
    RosterResponse,
)
from trust.envelope import EnvelopeHeader

__all__ = ["GatewayService", "Limits"]

MAX_FETCH_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one gateway."""

    exchanges: int = 256
    body_timeout_s: float = 30.0
    exchange_timeout_s: float = 600.0


class GatewayService(stubs.GatewayServicer):
    """Knows opaque bytes, sizes, a token's validity and load. ``clock`` is unix seconds.

    ``opening`` holds the private halves of the gateway's own logged keys.
    """

    def __init__(
        self,
        roster: Roster,
        keys: LoggedKeys,
        spends: SpendVerifier,
        store: Store,
        consistency: Consistency,
        files: Files,
        log: EventLog,
        *,
        opening: OpeningKeys,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._roster = roster
        self._keys = keys
        self._spends = spends
        self._store = store
        self._consistency = consistency
        self._files = files
        self._log = log
        self._opening = opening
        self._limits = limits
        self._admission = Admission(limits.exchanges)
        self._clock = clock

    async def Exchange(  # noqa: N802  the wire's name
        self, request_iterator: AsyncIterator[Opaque], context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Opaque]:
        """Run one sealed request on one of its nodes and pass the sealed answer back."""
        intake = Intake(request_iterator)
        async with refusing(context, self._log, intake):
            with self._admission.admitted():
                frames = await SealedFrames.begin(
                    intake, self._opening, timeout_s=self._limits.body_timeout_s
                )
                answer = frames.answer(self._exchange(frames), self._log)
                async with aclosing(answer) as pieces:
                    async for piece in pieces:
                        yield Opaque(payload=piece)

    async def Fetch(  # noqa: N802
        self, request: Opaque, context: aio.ServicerContext[Any, Any]
    ) -> Opaque:
        """Verified bundles, a consistency proof of the log, or a public file."""
        async with refusing(context, self._log):
            answer = await answer_sealed(self._opening, request.payload, self._fetch, self._log)
        return Opaque(payload=answer)

    async def Keys(  # noqa: N802
        self, request: KeysRequest, context: aio.ServicerContext[Any, Any]
    ) -> KeysResponse:
        """Logged keys of issuer and gateway: the same for everybody."""
        return self._keys.response()

    async def _exchange(self, frames: Frames) -> AsyncGenerator[bytes]:
        """What is cheap to refuse comes first; the token is spent just before a node is asked.

        1. read the first frame; header and expiry
        2. the token is genuine, of a key that holds, held by the sender, and the one the header
           names
        3. one of the header's nodes is usable
        4. read the sealed body, within bounds
        5. spend the token: true exactly once, an error when the store is gone
        6. proxy
        """
        # 1
        opened = await read_open(frames, timeout_s=self._limits.body_timeout_s)
        header = _header(opened, now=self._clock())
        # 2
        token = self._spends.verify(opened.spend, header)
        # 3
        self._require_node(header)
        # 4
        request = await read_request(opened, frames, timeout_s=self._limits.body_timeout_s)
        # 5
        if not await self._store.spend_token(token.hash, ttl_s=token.ttl_s):
            raise CloudRefused("token spent", refusal=RefusalCode.TOKEN_SPENT)
        # 6
        candidates = self._roster.candidates(header.node_ids)
        answer = dispatch(request, candidates, timeout_s=self._limits.exchange_timeout_s)
        async with aclosing(answer):
            async for payload in answer:
                yield payload

    def _require_node(self, header: EnvelopeHeader) -> None:
        if not self._roster.candidates(header.node_ids):
            raise CloudRefused("no usable node", refusal=RefusalCode.NO_NODE)

    async def _fetch(self, payload: bytes) -> bytes:
        return (await self._reply(payload)).SerializeToString()

    async def _reply(self, payload: bytes) -> FetchResponse:
        if len(payload) > MAX_FETCH_BYTES:
            raise CloudRefused("question too large", refusal=RefusalCode.TOO_LARGE)
        try:
            request = FetchRequest.FromString(payload)
        except DecodeError:
            raise CloudRefused("no question", refusal=RefusalCode.BAD_REQUEST) from None
        match request.WhichOneof("kind"):
            case "roster":
                return FetchResponse(roster=RosterResponse(bundles=self._roster.bundles()))
            case "consistency":
                return await self._prove(request.consistency)
            case "file":
                return FetchResponse(file=await self._files.read(request.file.path))
            case _:
                raise CloudRefused("no question", refusal=RefusalCode.BAD_REQUEST)

    async def _prove(self, asked: ConsistencyRequest) -> FetchResponse:
        hashes = await self._consistency(asked.old_size, asked.new_size)
        return FetchResponse(consistency=ConsistencyResponse(hashes=hashes))


def _header(opened: Open, *, now: float) -> EnvelopeHeader:
    try:
        header = EnvelopeHeader.from_proto(opened.header)
    except TrustError:
        raise CloudRefused("envelope", refusal=RefusalCode.ENVELOPE_REJECTED) from None
    try:
        header.require_live(now)
    except TrustError:
        raise CloudRefused("expiry", refusal=RefusalCode.EXPIRED) from None
    return header
