"""The relay: knows the device's address and opaque bytes, and tells the gateway neither.

Each frame is taken apart and built anew with its payload alone, so that no unknown field, metadata,
deadline, user agent or peer address of the device travels on; what the gateway adds to a status
stops here too. All devices share one warm pinned channel.

``python -m cloud_node.relay --config FILE.json``
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from grpc import aio
from pydantic import Field as Limit

from cloud_node.admission import Admission
from cloud_node.events import Component, EventLog
from cloud_node.identity import open_channel
from cloud_node.intake import Intake
from cloud_node.listening import ListenConfig, serve
from cloud_node.onward import frames_of
from cloud_node.refusals import refusing
from cloud_node.service import PinnedEndpoint, Service, ServiceConfig, main
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import gateway_pb2_grpc as stubs
from protos.lanai.v1alpha.gateway_pb2 import KeysRequest, KeysResponse, Opaque

__all__ = ["RelayConfig", "RelayService"]


KEYS_KEPT_S: Final = 2.0


class RelayConfig(ServiceConfig):
    """Where the relay listens, and the one gateway it talks to."""

    listen: ListenConfig
    gateway: PinnedEndpoint
    max_request_bytes: int = Limit(2 * 2**20, ge=1024)
    """All frames of one exchange from the device together."""
    max_exchanges: int = Limit(512, ge=1)
    timeout_s: float = Limit(600.0, gt=0)


@dataclass(slots=True)
class _Allowance:
    """Bytes one device may still send in one exchange."""

    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _too_large()


class RelayService(stubs.RelayServicer):
    """The methods of the wire. Holds no state of any device."""

    def __init__(
        self, gateway: "stubs.GatewayAsyncStub", config: RelayConfig, log: EventLog
    ) -> None:
        self._gateway = gateway
        self._config = config
        self._log = log
        self._admission = Admission(config.max_exchanges)
        self._keys = KeysResponse()
        self._keys_until = 0.0

    async def Exchange(  # noqa: N802  the wire's name
        self, request_iterator: AsyncIterator[Opaque], context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Opaque]:
        """Forward frames both ways until either side ends."""
        intake = Intake(request_iterator)
        async with refusing(context, self._log, intake):
            with self._admission.admitted():
                async with aclosing(self._forward(intake)) as frames:
                    async for frame in frames:
                        yield frame

    async def Fetch(  # noqa: N802
        self, request: Opaque, context: aio.ServicerContext[Any, Any]
    ) -> Opaque:
        """Forward one question and its answer."""
        async with refusing(context, self._log):
            _Allowance(self._config.max_request_bytes).take(len(request.payload))
            answer = await self._gateway.Fetch(
                Opaque(payload=request.payload), timeout=self._config.timeout_s
            )
        return Opaque(payload=answer.payload)

    async def Keys(  # noqa: N802
        self, request: KeysRequest, context: aio.ServicerContext[Any, Any]
    ) -> KeysResponse:
        """What the gateway shows to everybody; nothing of the device's question goes along.

        Kept for some seconds, so that many devices cost the gateway little.
        """
        async with refusing(context, self._log):
            if time.monotonic() >= self._keys_until:
                answer = await self._gateway.Keys(KeysRequest(), timeout=self._config.timeout_s)
                self._keys = KeysResponse(keys=answer.keys)
                self._keys_until = time.monotonic() + KEYS_KEPT_S
        return self._keys

    async def _forward(self, frames: Intake[Opaque]) -> AsyncGenerator[Opaque]:
        allowance = _Allowance(self._config.max_request_bytes)
        call = self._gateway.Exchange(_rebuilt(frames, allowance), timeout=self._config.timeout_s)
        try:
            async with aclosing(frames_of(call)) as answer:
                async for frame in answer:
                    yield Opaque(payload=frame.payload)
        except asyncio.CancelledError:
            # gRPC cancels the call when the frames it is fed raise; tell that from a lost device.
            if allowance.left < 0:
                raise _too_large() from None
            raise


async def _rebuilt(frames: Intake[Opaque], allowance: _Allowance) -> AsyncIterator[Opaque]:
    while (frame := await frames.next()) is not None:
        allowance.take(len(frame.payload))
        yield Opaque(payload=frame.payload)


def _too_large() -> CloudRefused:
    return CloudRefused("request too large", refusal=RefusalCode.TOO_LARGE)


async def run(config: RelayConfig, service: Service) -> None:
    """The process: a server for devices, one channel to the gateway."""
    channel = open_channel(config.gateway.address, config.gateway.certificate.encode())
    channel.get_state(try_to_connect=True)
    relay = RelayService(stubs.GatewayStub(channel), config, service.log)
    try:
        await serve(
            service, config.listen, lambda server: stubs.add_RelayServicer_to_server(relay, server)
        )
    finally:
        await channel.close(None)


if __name__ == "__main__":
    main(Component.RELAY, RelayConfig, run)
