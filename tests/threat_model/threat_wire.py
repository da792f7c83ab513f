"""gRPC without a network: the parties' own servicers, called as their peers would call them.

Errors are gRPC's own, cancellation passes both ways, and a channel is pinned to one certificate as
the real one is. What a test interposes here stands where a network, a relay or a gateway stands.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio
from grpc.aio import EOF

from cloud_node.node.front import Front
from device_agent.cloud.transport import refused
from lanai.errors import CloudError, CloudUnavailable, RefusalCode
from protos.lanai.v1alpha import node_pb2
from protos.lanai.v1alpha.gateway_pb2 import KeysRequest, Opaque

__all__ = ["Call", "Line", "NodeChannel", "ServerContext", "ServiceStub", "listed", "status"]


def status(code: grpc.StatusCode, details: str = "") -> aio.AioRpcError:
    """A call's failure, as a client sees it."""
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details=details)


async def listed(items: Iterable[Any]) -> AsyncIterator[Any]:
    """The items, as a stream."""
    for item in items:
        yield item


class ServerContext:
    """What a servicer is given. It learns nothing of its peer from here."""

    def __init__(self, frames: AsyncIterator[Any] | None = None) -> None:
        self._frames = frames
        self.written: asyncio.Queue[Message] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (answer := await self.read()) is not EOF:
            yield answer

    async def read(self) -> Any:
        with suppress(StopAsyncIteration):
            if self._frames is not None:
                return await anext(self._frames)
        return aio.EOF

    async def write(self, message: Message) -> None:
        self.written.put_nowait(message)

    async def abort(self, code: grpc.StatusCode, details: str = "", **_: object) -> None:
        raise status(code, details)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "in-process"


class Call:
    """One call whose answers are put in a queue by a task; cancelled with it."""

    def __init__(self, work: Awaitable[None], answers: "asyncio.Queue[Any]") -> None:
        self._answers = answers
        self._task = asyncio.ensure_future(work)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (answer := await self.read()) is not EOF:
            yield answer

    async def read(self) -> Any:
        """The next answer, or ``EOF``. Raises what the call ended with."""
        taking = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait({taking, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not taking.done():
                taking.cancel()
        if taking.done() and not taking.cancelled():
            return taking.result()
        if not self._answers.empty():
            return self._answers.get_nowait()
        self._task.result()
        return EOF

    def cancel(self) -> bool:
        return self._task.cancel()


class NodeCall(Call):
    """``Node.Infer`` on a front; answers as bytes, as the gateway's channel gives them."""

    def __init__(self, front: Front, frames: AsyncIterator[Any]) -> None:
        self._context = ServerContext(aiter(frames))
        super().__init__(front.infer(None, self._context), self._context.written)

    async def wait_for_connection(self) -> None:
        """Reached."""


class _Unreached(Call):
    """A call to an address where nobody with the pinned certificate is."""

    def __init__(self) -> None:
        super().__init__(asyncio.sleep(0), asyncio.Queue())

    async def wait_for_connection(self) -> None:
        raise status(grpc.StatusCode.UNAVAILABLE)


class NodeChannel:
    """The gateway's channel to whoever answers at an address and shows the pinned certificate."""

    def __init__(self, find: Callable[[], Front | None]) -> None:
        self._find = find

    def stream_stream(self, path: str, **_: object) -> Callable[..., Call]:
        assert path == "/lanai.v1alpha.Node/Infer"

        def infer(frames: AsyncIterator[node_pb2.InferRequest], **_: object) -> Call:
            front = self._find()
            return _Unreached() if front is None else NodeCall(front, frames)

        return infer

    def get_state(self, *, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        found = self._find() is not None
        state = grpc.ChannelConnectivity
        return state.READY if found else state.TRANSIENT_FAILURE

    async def close(self, grace: float | None = None) -> None:
        """Nothing is open."""


class ServiceStub:
    """A stub of the relay's or the gateway's three methods over their servicer."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def Exchange(self, frames: AsyncIterator[Opaque], **_: object) -> Call:  # noqa: N802
        answers: asyncio.Queue[Opaque] = asyncio.Queue()

        async def forward() -> None:
            async for answer in self._service.Exchange(aiter(frames), ServerContext()):
                answers.put_nowait(answer)

        return Call(forward(), answers)

    async def Fetch(self, request: Opaque, **_: object) -> Opaque:  # noqa: N802
        return await self._service.Fetch(request, ServerContext())

    async def Keys(self, request: KeysRequest, **_: object) -> Any:  # noqa: N802
        return await self._service.Keys(request, ServerContext())


class Line:
    """The device's `Transport` to a relay's servicer; errors as the real transport maps them."""

    def __init__(self, service: Any) -> None:
        self._stub = ServiceStub(service)

    async def connect(self) -> None:
        """Reached."""

    async def exchange(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        call = self._stub.Exchange(_opaque(frames))
        try:
            async for answer in call:
                yield answer.payload
        except aio.AioRpcError as error:
            raise _cloud_error(error) from None
        finally:
            call.cancel()

    async def fetch(self, payload: bytes) -> bytes:
        try:
            return (await self._stub.Fetch(Opaque(payload=payload))).payload
        except aio.AioRpcError as error:
            raise _cloud_error(error) from None

    async def keys(self) -> bytes:
        try:
            return (await self._stub.Keys(KeysRequest())).SerializeToString()
        except aio.AioRpcError as error:
            raise _cloud_error(error) from None

    async def close(self) -> None:
        """Nothing is open."""


async def _opaque(frames: AsyncIterator[bytes]) -> AsyncIterator[Opaque]:
    async for payload in frames:
        yield Opaque(payload=payload)


def _cloud_error(error: aio.AioRpcError) -> CloudError:
    if error.details() in {code.value for code in RefusalCode}:
        return refused(RefusalCode(error.details()))
    return CloudUnavailable("the relay was not reached", hint="this one is in memory")
