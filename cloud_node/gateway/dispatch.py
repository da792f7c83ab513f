"""One sealed request to one of its nodes, and on to the next only while nobody can have begun it.

A node burns the request id before it unwraps anything, and answers its first frame after that. So
the next node is tried only when this one was never reached, or says `draining` or `busy`, which it
says before the burn. A connection lost later is the device's to see: it seals anew, with a new
token.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from grpc import aio

from cloud_node.gateway.roster import NodeEntry
from cloud_node.onward import frames_of
from cloud_node.refusals import refusal_of
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import node_pb2

__all__ = ["dispatch"]

CONNECT_S: Final = 2.0
_BEFORE_BURN: Final = frozenset({RefusalCode.DRAINING, RefusalCode.BUSY})


class _NotBegun(Exception):
    """The node did not begin the request; ``refusal`` is what to say if no other takes it."""

    def __init__(self, refusal: RefusalCode) -> None:
        super().__init__(refusal)
        self.refusal = refusal


async def dispatch(
    frames: Sequence[node_pb2.InferRequest], candidates: Sequence[NodeEntry], *, timeout_s: float
) -> AsyncGenerator[bytes]:
    """Yield the answer frames of the first candidate that takes the request, as they came.

    ``frames`` is the whole sealed request, bounded by whoever read it. Raises ``CloudRefused``,
    also for a node's own refusal and a lost connection. Closing the iterator cancels the call.
    """
    refusal = RefusalCode.NO_NODE
    for entry in candidates:
        try:
            async with aclosing(_ask(entry, frames, timeout_s)) as answer:
                async for frame in answer:
                    yield frame
        except _NotBegun as outcome:
            refusal = outcome.refusal
        else:
            return
    raise CloudRefused("no node took the request", refusal=refusal)


async def _ask(
    entry: NodeEntry, frames: Sequence[node_pb2.InferRequest], timeout_s: float
) -> AsyncGenerator[bytes]:
    """1 reach the node, 2 send everything, 3 pass its frames on. Raises ``_NotBegun``."""
    gate = asyncio.Event()
    call = entry.infer(_behind(gate, frames), timeout=timeout_s)
    entry.in_flight += 1
    try:
        # 1  whatever goes wrong here, no frame was sent
        await _reach(call)
        # 2
        gate.set()
        # 3
        begun = False
        try:
            async with aclosing(frames_of(call)) as answer:
                async for frame in answer:
                    begun = True
                    yield frame
        except aio.AioRpcError as error:
            refusal = refusal_of(error)
            if not begun and refusal in _BEFORE_BURN:
                raise _NotBegun(refusal) from None
            raise CloudRefused("the node refused", refusal=refusal) from None
    finally:
        entry.in_flight -= 1
        call.cancel()


async def _reach(call: "aio.StreamStreamCall[node_pb2.InferRequest, bytes]") -> None:
    try:
        async with asyncio.timeout(CONNECT_S):
            await call.wait_for_connection()
    except TimeoutError:
        raise _NotBegun(RefusalCode.NO_NODE) from None
    except aio.AioRpcError as error:
        raise _NotBegun(refusal_of(error)) from None


async def _behind(
    gate: asyncio.Event, frames: Sequence[node_pb2.InferRequest]
) -> AsyncIterator[node_pb2.InferRequest]:
    await gate.wait()
    for frame in frames:
        yield frame
