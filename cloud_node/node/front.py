"""The node's own port: sealed frames in, sealed frames out.

A request, step by step (`infer`):

1. Room is taken, or the call is refused as draining or busy. Nothing has been looked at.
2. The header: shape, version, this node among its nodes, expiry.
3. The request id enters this node's own replay set.
4. The id is burned in the store. Without the store's word nothing is unwrapped.
5. The wrapped key is opened; everything outside the ciphertext is proved unchanged by it.
6. The body's chunks come in and are opened.
7. The answer's nonce goes out; from here on failures travel inside the seal.
8. The answer runs and leaves frame by frame; the last frame says how it ended.

Refusals up to 3 cost the device nothing; from 4 on the id is used up. When the peer goes away, at
any step, this handler is cancelled and the engine with it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from cloud_node.events import Event, EventLog, Field
from cloud_node.node.answer import Answerer
from cloud_node.node.frames import (
    Context,
    heard_out,
    read_chunks,
    read_header,
    refusal_of,
    send,
)
from cloud_node.node.keys import NodeKeys
from cloud_node.node.load import Load
from cloud_node.tree.replay import ReplaySet
from cloud_node.tree.request import read_request
from cloud_node.tree.timeline import Timeline
from cloud_node.refusals import refusing
from cloud_node.store import Store
from lanai.errors import (
    CloudRefused,
    ContextOverflow,
    EnvelopeRejected,
    RefusalCode,
    UsageError,
)
from lanai.telemetry import Span
from protos.lanai.v1alpha import bundle_pb2, envelope_pb2, node_pb2
from trust.bundle import NodeBundle
from trust.envelope import AnswerSealer, EnvelopeHeader, OpenRequest, open_request

__all__ = ["Front", "Shared"]

SERVICE = node_pb2.DESCRIPTOR.services_by_name["Node"].full_name
BODY_S = 15.0
"""How long the header and the whole body may take to arrive."""
MILLISECONDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all keys of one node process have in common."""

    store: Store
    replay: ReplaySet
    load: Load
    answerer: Answerer
    log: EventLog
    request_timeout_s: float
    clock: Callable[[], float] = time.time


class Front:
    """Serves requests sealed to one pair of keys. ``bundle`` returns the newest bundle for them."""

    def __init__(self, shared: Shared, keys: NodeKeys, bundle: Callable[[], NodeBundle]) -> None:
        self._shared = shared
        self._keys = keys
        self._bundle = bundle

    def register(self, server: aio.Server) -> None:
        """Offer ``Node.Infer`` and ``Node.Bundle`` on ``server``."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Infer": grpc.stream_stream_rpc_method_handler(
                self.infer,
                node_pb2.InferRequest.FromString,
                node_pb2.InferResponse.SerializeToString,
            ),
            "Bundle": grpc.unary_unary_rpc_method_handler(
                self.bundle,
                node_pb2.BundleRequest.FromString,
                bundle_pb2.NodeBundle.SerializeToString,
            ),
        }
        generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
        server.add_generic_rpc_handlers((generic,))

    async def bundle(
        self, _request: node_pb2.BundleRequest, _context: Any
    ) -> bundle_pb2.NodeBundle:
        """The node's bundle: public, unverified until the device has verified it."""
        return self._bundle().to_proto()

    async def infer(self, _requests: Any, context: Context) -> None:
        """One sealed request (the plan is on top of this file)."""
        timeline = Timeline()
        try:
            async with refusing(context, self._shared.log), heard_out(context):
                # 1.
                with self._shared.load.admitted():
                    opened, body = await self._open_in_time(context, timeline)
                    await self._answer(context, opened.answer(), body, timeline)
        except asyncio.CancelledError:
            self._emit(Event.REQUEST_CANCELLED, {Field.DURATION_MS: _milliseconds(timeline)})
            raise

    async def _open_in_time(
        self, context: Context, timeline: Timeline
    ) -> tuple[OpenRequest, bytes]:
        try:
            async with asyncio.timeout(BODY_S):
                return await self._open(context, timeline)
        except TimeoutError:
            raise CloudRefused("the body is late", refusal=RefusalCode.EXPIRED) from None

    async def _open(self, context: Context, timeline: Timeline) -> tuple[OpenRequest, bytes]:
        now = self._shared.clock()
        try:
            # 2.
            header = await self._header(context, now)
            # 3.
            self._remember(header, now)
            # 4.
            await self._burn(header, now)
            # 5. and 6.
            with timeline.span(Span.NODE_UNSEAL):
                opened = open_request(
                    header,
                    self._keys.key,
                    tls_spki_sha256=self._keys.identity.spki_sha256,
                    now=now,
                )
                return opened, opened.body(await read_chunks(context))
        except EnvelopeRejected as error:
            raise refusal_of(error) from None

    async def _header(self, context: Context, now: float) -> EnvelopeHeader:
        header = await read_header(context)
        header.require_live(now)
        if self._keys.node_id not in header.node_ids:
            raise CloudRefused("not addressed", refusal=RefusalCode.ENVELOPE_REJECTED)
        return header

    def _remember(self, header: EnvelopeHeader, now: float) -> None:
        replay = self._shared.replay
        if replay.admit(header.request_id, expires_at=header.expires_at, now=now):
            return
        code = RefusalCode.BUSY if replay.full else RefusalCode.REPLAYED
        raise CloudRefused("not admitted", refusal=code)

    async def _burn(self, header: EnvelopeHeader, now: float) -> None:
        ttl_s = max(1, int(header.expires_at - now) + 1)
        if not await self._shared.store.burn_request(header.request_id, ttl_s=ttl_s):
            raise CloudRefused("burned before", refusal=RefusalCode.REPLAYED)

    async def _answer(
        self, context: Context, sealer: AnswerSealer, body: bytes, timeline: Timeline
    ) -> None:
        # 7.
        await context.write(node_pb2.InferResponse(server_nonce=sealer.server_nonce))
        # 8.
        try:
            async with asyncio.timeout(self._shared.request_timeout_s):
                await self._send_frames(context, sealer, body, timeline)
        except Exception as error:  # noqa: BLE001  whatever it was, its text stays in here
            code = _failure_code(error)
            self._emit(Event.REQUEST_FAILED, {Field.CODE: code}, error=error)
            await send(context, sealer, envelope_pb2.AnswerFrame(failure=code), last=True)
        else:
            self._emit(Event.REQUEST_DONE, {Field.DURATION_MS: _milliseconds(timeline)})

    async def _send_frames(
        self, context: Context, sealer: AnswerSealer, body: bytes, timeline: Timeline
    ) -> None:
        asked = read_request(body)
        async with aclosing(self._shared.answerer.frames(asked, timeline)) as frames:
            async for frame in frames:
                await send(context, sealer, frame, last=frame.HasField("final"))

    def _emit(
        self, event: Event, values: dict[Field, Any], error: BaseException | None = None
    ) -> None:
        live = {Field.LIVE: self._shared.load.live}
        self._shared.log.emit(event, {**values, **live}, error=error)


def _failure_code(error: Exception) -> RefusalCode:
    match error:
        case CloudRefused():
            return error.refusal
        case ContextOverflow():
            return RefusalCode.CONTEXT_OVERFLOW
        case UsageError():  # a conversation the model's template refuses
            return RefusalCode.BAD_REQUEST
        case TimeoutError():
            return RefusalCode.EXPIRED
        case _:
            return RefusalCode.INTERNAL


def _milliseconds(timeline: Timeline) -> float:
    return round(timeline.now() * MILLISECONDS, 3)
