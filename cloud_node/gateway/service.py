"""The gateway's two methods."""

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
from cloud_node.gateway.reading import read_open, read_request
from cloud_node.gateway.roster import Roster
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
    Opaque,
    Open,
    RosterResponse,
)
from trust.envelope import EnvelopeHeader
from trust.tokens import TokenVerifier

__all__ = ["GatewayService", "Limits"]

MAX_FETCH_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one gateway."""

    exchanges: int = 256
    body_timeout_s: float = 30.0
    exchange_timeout_s: float = 600.0
    spent_ttl_s: int = 366 * 86_400
    """How long a spent token is remembered: longer than any issuer key is trusted."""


class GatewayService(stubs.GatewayServicer):
    """Knows opaque bytes, sizes, a token's validity and load. ``clock`` is unix seconds."""

    def __init__(
        self,
        roster: Roster,
        tokens: TokenVerifier,
        store: Store,
        consistency: Consistency,
        log: EventLog,
        *,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._roster = roster
        self._tokens = tokens
        self._store = store
        self._consistency = consistency
        self._log = log
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
                async with aclosing(self._exchange(intake)) as answer:
                    async for payload in answer:
                        yield Opaque(payload=payload)

    async def Fetch(  # noqa: N802
        self, request: Opaque, context: aio.ServicerContext[Any, Any]
    ) -> Opaque:
        """Verified bundles, or a consistency proof of the log."""
        async with refusing(context, self._log):
            response = await self._fetch(request.payload)
        return Opaque(payload=response.SerializeToString())

    async def _exchange(self, frames: Intake[Opaque]) -> AsyncGenerator[bytes]:
        """What is cheap to refuse comes first; the token is spent just before a node is asked.

        1. read the first frame; header and expiry
        2. the token is genuine, held by the sender, and the one the header names
        3. one of the header's nodes is usable
        4. read the sealed body, within bounds
        5. spend the token: true exactly once, an error when the store is gone
        6. proxy
        """
        # 1
        opened = await read_open(frames, timeout_s=self._limits.body_timeout_s)
        header = _header(opened, now=self._clock())
        # 2
        token_hash = self._verify_token(opened, header)
        # 3
        self._require_node(header)
        # 4
        request = await read_request(opened, frames, timeout_s=self._limits.body_timeout_s)
        # 5
        if not await self._store.spend_token(token_hash, ttl_s=self._limits.spent_ttl_s):
            raise CloudRefused("token spent", refusal=RefusalCode.TOKEN_SPENT)
        # 6
        candidates = self._roster.candidates(header.node_ids)
        answer = dispatch(request, candidates, timeout_s=self._limits.exchange_timeout_s)
        async with aclosing(answer):
            async for payload in answer:
                yield payload

    def _verify_token(self, opened: Open, header: EnvelopeHeader) -> bytes:
        token_hash = self._tokens.verify(
            opened.spend.token,
            holder_key=opened.spend.holder_key,
            holder_signature=opened.spend.holder_signature,
            envelope_digest=header.digest(),
        )
        if token_hash != header.token_hash:
            raise CloudRefused("another token", refusal=RefusalCode.TOKEN_INVALID)
        return token_hash

    def _require_node(self, header: EnvelopeHeader) -> None:
        if not self._roster.candidates(header.node_ids):
            raise CloudRefused("no usable node", refusal=RefusalCode.NO_NODE)

    async def _fetch(self, payload: bytes) -> FetchResponse:
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
