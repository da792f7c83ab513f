"""Frames of a call that is made for somebody else."""

import asyncio
import gc
from contextlib import aclosing
from typing import cast

import pytest
from grpc import aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # absent from the stubs

from cloud_node.onward import frames_of


class _Call:
    """Says ``frames``, and then nothing until it is cancelled, as a call to a slow node does."""

    def __init__(self, *frames: object, fault: Exception | None = None) -> None:
        self._frames = list(frames)
        self._fault = fault
        self._ended = asyncio.Event()
        self.reads_cut_off = 0
        self.reading = asyncio.Event()

    async def read(self) -> object:
        if self._frames:
            return self._frames.pop(0)
        self.reading.set()
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            self.reads_cut_off += 1
            raise
        if self._fault is not None:
            raise self._fault
        return EOF

    def cancel(self) -> bool:
        self._ended.set()
        return True

    @property
    def cancelled(self) -> bool:
        return self._ended.is_set()


def _as_call(call: _Call) -> "aio.StreamStreamCall[object, object]":
    return cast("aio.StreamStreamCall[object, object]", call)


async def test_frames_come_in_their_order_and_the_call_is_given_up_after_them() -> None:
    """What the call says is what is heard, up to its end."""
    call = _Call(b"a", b"b", EOF)
    assert [frame async for frame in frames_of(_as_call(call))] == [b"a", b"b"]
    assert call.cancelled


@pytest.mark.parametrize("fault", [None, OSError()])
async def test_a_caller_that_leaves_ends_the_call_and_cuts_no_read_off(
    fault: Exception | None,
) -> None:
    """A read that is under way ends with its call: grpcio frees what belongs to it only then.

    However it ends: that is no event of a party that serves somebody else.
    """
    call, loose = _Call(b"a", fault=fault), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loose.append(context))

    async def hear() -> None:
        async with aclosing(frames_of(_as_call(call))) as frames:
            async for _ in frames:
                pass

    caller = asyncio.create_task(hear())
    await call.reading.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert call.cancelled
    del caller  # its traceback holds the read, and so does the loop for a turn more
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert (call.reads_cut_off, loose) == (0, [])
