"""gRPC to relay and issuer, each pinned to the one certificate the trust root names.

grpc is imported when the first connection is made. TLS 1.3; no web PKI, no proxy, no retries below
us: what is sealed is sent once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from device_agent.cloud.transport import refused
from lanai.errors import CloudError, CloudRefused, CloudUnavailable, DeadlineExceeded, RefusalCode
from trust.root import Endpoint

if TYPE_CHECKING:
    import grpc.aio

    from protos.lanai.v1alpha import gateway_pb2, gateway_pb2_grpc

__all__ = ["GrpcIssuerTransport", "GrpcRelayTransport"]

TLS_NAME: Final = "lanai.internal"
"""The name in every certificate of a cluster. The pin decides, not the name."""
CONNECT_S: Final = 5.0
ISSUE_S: Final = 30.0
FETCH_S: Final = 10.0
OPTIONS: Final = (
    ("grpc.ssl_target_name_override", TLS_NAME),
    # A peer that froze is noticed within 4 s; without ping_timeout_ms it takes a minute.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 1500),
    ("grpc.http2.ping_timeout_ms", 1500),
    # An answer may be silent for long (a slow prefill).
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)
WORDS: Final = frozenset(code.value for code in RefusalCode)


class _Line:
    """One lazily opened channel to one pinned endpoint."""

    __slots__ = ("_channel", "_endpoint", "_name")

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint = endpoint
        self._name = name
        self._channel: grpc.aio.Channel | None = None

    def channel(self) -> "grpc.aio.Channel":
        """The channel, opened on first use in the running loop."""
        if self._channel is None:
            import grpc.aio

            pinned = grpc.ssl_channel_credentials(self._endpoint.certificate.encode("ascii"))
            self._channel = grpc.aio.secure_channel(self._endpoint.address, pinned, options=OPTIONS)
        return self._channel

    async def connect(self) -> None:
        """Raises ``CloudUnavailable`` when the endpoint, with its certificate, is not reached."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self.channel().channel_ready()
        except TimeoutError:
            raise self.unavailable() from None

    def error(self, error: "grpc.aio.AioRpcError") -> CloudError:
        """A gRPC status as ours. Its free text is dropped: it is the peer's."""
        import grpc

        details, code = error.details(), error.code()
        if details in WORDS:
            return refused(RefusalCode(details))
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"the {self._name} did not answer in time", hint="ask again")
        if code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE}:
            return CloudRefused(
                f"a message is too large for the {self._name}",
                refusal=RefusalCode.TOO_LARGE,
                hint="shorten the conversation",
            )
        return self.unavailable()

    def unavailable(self) -> CloudUnavailable:
        return CloudUnavailable(
            f"the {self._name} at {self._endpoint.address} was not reached",
            hint="`lanai cloud status` shows a local cluster; else check the network",
        )

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)


class GrpcRelayTransport:
    """`Transport` over the relay's three methods."""

    __slots__ = ("_line",)

    def __init__(self, relay: Endpoint) -> None:
        self._line = _Line(relay, "relay")

    async def connect(self) -> None:
        await self._line.connect()

    async def exchange(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        import grpc.aio

        call = self._stub().Exchange(_opaque(frames))
        try:
            async for reply in call:
                yield reply.payload
        except grpc.aio.AioRpcError as error:
            raise self._line.error(error) from None
        finally:
            call.cancel()

    async def fetch(self, payload: bytes) -> bytes:
        import grpc.aio

        from protos.lanai.v1alpha.gateway_pb2 import Opaque

        try:
            reply = await self._stub().Fetch(Opaque(payload=payload), timeout=FETCH_S)
        except grpc.aio.AioRpcError as error:
            raise self._line.error(error) from None
        return reply.payload

    async def keys(self) -> bytes:
        import grpc.aio

        from protos.lanai.v1alpha.gateway_pb2 import KeysRequest

        try:
            reply = await self._stub().Keys(KeysRequest(), timeout=FETCH_S)
        except grpc.aio.AioRpcError as error:
            raise self._line.error(error) from None
        return reply.SerializeToString()

    async def close(self) -> None:
        await self._line.close()

    def _stub(self) -> "gateway_pb2_grpc.RelayAsyncStub":
        from protos.lanai.v1alpha.gateway_pb2_grpc import RelayStub

        return RelayStub(self._line.channel())


class GrpcIssuerTransport:
    """`IssuerTransport` over the issuer's one method."""

    __slots__ = ("_line",)

    def __init__(self, issuer: Endpoint) -> None:
        self._line = _Line(issuer, "issuer")

    async def issue(
        self, account: str, credential: bytes, key_id: bytes, blinded: Sequence[bytes]
    ) -> tuple[tuple[bytes, ...], int]:
        import grpc.aio

        from protos.lanai.v1alpha.issuer_pb2 import IssueRequest
        from protos.lanai.v1alpha.issuer_pb2_grpc import IssuerStub

        request = IssueRequest(
            account=account, credential=credential, token_key_id=key_id, blinded=blinded
        )
        try:
            reply = await IssuerStub(self._line.channel()).Issue(request, timeout=ISSUE_S)
        except grpc.aio.AioRpcError as error:
            raise self._line.error(error) from None
        return tuple(reply.signatures), reply.remaining

    async def close(self) -> None:
        await self._line.close()


async def _opaque(frames: AsyncIterator[bytes]) -> "AsyncIterator[gateway_pb2.Opaque]":
    from protos.lanai.v1alpha.gateway_pb2 import Opaque

    async for payload in frames:
        yield Opaque(payload=payload)
