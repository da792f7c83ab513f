"""The answer of a call that a relay or a gateway makes for its own caller."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar, cast

from grpc import aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # absent from the stubs

__all__ = ["frames_of"]

Q = TypeVar("Q")
A = TypeVar("A")


async def frames_of(call: "aio.StreamStreamCall[Q, A]") -> AsyncGenerator[A]:
    """Frames as they come; closing it cancels the call. Raises ``aio.AioRpcError``.

    Each is read in a task of its own, which ends when the call does. Where the reading task itself
    is cancelled, grpcio never frees what it laid out for that read, some hundred bytes for each
    caller that leaves (grpc/grpc issue 43360).
    """
    loop = asyncio.get_running_loop()
    try:
        while True:
            reading = loop.create_task(_read(call))
            reading.add_done_callback(_heard)
            if (frame := await asyncio.shield(reading)) is EOF:
                return
            yield frame
    finally:
        call.cancel()


async def _read(call: "aio.StreamStreamCall[Q, A]") -> A:
    return cast("A", await call.read())


def _heard(reading: asyncio.Task[A]) -> None:
    """How a call ends whose caller has left is for nobody."""
    if not reading.cancelled():
        reading.exception()
