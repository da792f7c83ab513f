"""The node's own port: sealed frames in, sealed frames out. This process never has a key to them.

A request, step by step (`infer`):

1. Room is taken, or the call is refused as draining or busy. Nothing has been looked at.
2. The header: shape, version, this node among its nodes, expiry.
3. The id is burned in the store. Without the store's word nothing goes on.
4. The keyholder is handed the header and one end of a socket; it unwraps the keys, for a worker,
   once for each id, whatever the store said.
5. The body's sealed chunks go to the worker as they come.
6. What the worker says comes back: a refusal, or wire frames that are passed on untouched.

Refusals up to 2 cost the device nothing; from 3 on the id is used up. When the peer goes away, at
any step, this handler is cancelled, its socket closed, and so the worker and the engine's work end.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from cloud_node.events import Event, EventLog, Field
from cloud_node.node.frames import Context, chunks_of, heard_out, read_header
from cloud_node.node.keyholding import KeySource
from cloud_node.node.keys import NodeKeys
from cloud_node.node.load import Load
from cloud_node.node.replies import replies
from cloud_node.refusals import refusing
from cloud_node.store import Store
from cloud_node.tree.request_socket import code_of, longest_s
from cloud_node.tree.summons import Summons
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode
from protos.lanai.v1alpha import bundle_pb2, node_pb2
from trust.bundle import NodeBundle
from trust.envelope import EnvelopeHeader

__all__ = ["Front", "Shared"]

SERVICE = node_pb2.DESCRIPTOR.services_by_name["Node"].full_name
BODY_S = 15.0
"""How long the header and the whole body may take to arrive."""
MILLISECONDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all keys of one node have in common."""

    store: Store
    load: Load
    keyholding: KeySource
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
            # No serializer: the worker's frames are bytes already.
            "Infer": grpc.stream_stream_rpc_method_handler(
                self.infer, node_pb2.InferRequest.FromString
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
        received = time.perf_counter()
        try:
            async with refusing(context, self._shared.log), heard_out(context):
                # 1.
                with self._shared.load.admitted():
                    await self._run(context, received)
        except asyncio.CancelledError:
            self._emit(Event.REQUEST_CANCELLED, received)
            raise

    async def _run(self, context: Context, received: float) -> None:
        try:
            async with asyncio.timeout(BODY_S) as patience:
                header = await self._admit(context)
                # 4.
                summons = Summons(
                    header=header,
                    node_id=self._keys.node_id,
                    received=received,
                    handed=time.perf_counter(),
                )
                with self._shared.keyholding.request(summons) as worker:
                    # 5. A worker that is gone already has said why, or will not say.
                    with suppress(OSError):
                        async for chunk in chunks_of(context):
                            await asyncio.get_running_loop().sock_sendall(worker, chunk)
                    # 6.
                    patience.reschedule(None)
                    async with asyncio.timeout(longest_s(self._shared.request_timeout_s)):
                        await self._pass_back(context, worker, received)
        except EnvelopeRejected as error:
            raise CloudRefused("rejected", refusal=code_of(error)) from None
        except TimeoutError:
            raise CloudRefused("late", refusal=RefusalCode.EXPIRED) from None

    async def _admit(self, context: Context) -> EnvelopeHeader:
        now = self._shared.clock()
        # 2.
        header = await read_header(context)
        header.require_live(now)
        if self._keys.node_id not in header.node_ids:
            raise CloudRefused("not addressed", refusal=RefusalCode.ENVELOPE_REJECTED)
        # 3.
        await self._burn(header, now)
        return header

    async def _burn(self, header: EnvelopeHeader, now: float) -> None:
        ttl_s = max(1, int(header.expires_at - now) + 1)
        if not await self._shared.store.burn_request(header.request_id, ttl_s=ttl_s):
            raise CloudRefused("burned before", refusal=RefusalCode.REPLAYED)

    async def _pass_back(self, context: Context, worker: Any, received: float) -> None:
        async for frame, ended in replies(worker):
            if frame:
                await context.write(frame)  # type: ignore[arg-type]  # serialized already
            elif ended is None:
                self._emit(Event.REQUEST_DONE, received)
            else:
                self._emit(Event.REQUEST_FAILED, received, {Field.CODE: ended})

    def _emit(self, event: Event, received: float, values: dict[Field, Any] | None = None) -> None:
        milliseconds = round((time.perf_counter() - received) * MILLISECONDS, 3)
        more = {Field.DURATION_MS: milliseconds, Field.LIVE: self._shared.load.live}
        self._shared.log.emit(event, {**(values or {}), **more})
