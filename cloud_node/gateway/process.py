"""The gateway's process: store, log and nodes on one side, the relay on the other."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from grpc import aio
from pydantic import Field

from cloud_node.gateway.announcements import AnnouncementVerifier
from cloud_node.gateway.roster import Roster
from cloud_node.gateway.service import GatewayService, Limits
from cloud_node.identity import certificate_pem, open_channel
from cloud_node.listening import ListenConfig, serve
from cloud_node.service import PinnedEndpoint, Service, ServiceConfig
from cloud_node.store import open_store
from lanai.errors import CloudRefused, ConfigError, RefusalCode
from protos.lanai.v1alpha import gateway_pb2_grpc as stubs
from protos.lanai.v1alpha import log_pb2, log_pb2_grpc
from trust.root import TrustRoot
from trust.tokens import TokenVerifier
from trust.verification import NodeVerifier

__all__ = ["GatewayConfig", "run"]

LOG_TIMEOUT_S: Final = 5.0


class GatewayConfig(ServiceConfig):
    """Where the gateway listens and whom it asks. ``store_url`` is its own role's."""

    listen: ListenConfig
    trust_root: Path
    store_url: str = Field(repr=False)
    log: PinnedEndpoint
    watch_s: float = Field(0.3, gt=0)
    """Time between two looks at the store."""
    announcement_max_age_s: int = Field(60, ge=1)
    max_exchanges: int = Field(256, ge=1)


class LogReader:
    """Consistency proofs of the log, a few at a time."""

    def __init__(self, channel: aio.Channel) -> None:
        self._log = log_pb2_grpc.LogStub(channel)
        self._slots = asyncio.Semaphore(8)

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        """Hashes of the proof. Raises ``CloudRefused`` for sizes no log has."""
        if not 0 < old_size <= new_size < 2**63:
            raise CloudRefused("sizes", refusal=RefusalCode.BAD_REQUEST)
        request = log_pb2.LogConsistencyRequest(old_size=old_size, new_size=new_size)
        async with self._slots:
            response = await self._log.Consistency(request, timeout=LOG_TIMEOUT_S)
        return tuple(response.hashes)


async def run(config: GatewayConfig, service: Service) -> None:
    """1 trust root, 2 store and log, 3 roster and its watch, 4 serve until told to stop."""
    async with AsyncExitStack() as closing:
        # 1
        root = _read_root(config.trust_root)
        # 2
        store = open_store(config.store_url)
        closing.push_async_callback(store.close)
        channel = open_channel(config.log.address, config.log.certificate.encode())
        closing.push_async_callback(channel.close, None)
        log = LogReader(channel)
        # 3
        verifier = AnnouncementVerifier(
            NodeVerifier(root), log.consistency, max_age_s=config.announcement_max_age_s
        )
        roster = Roster(store, verifier, _connect, service.log)
        closing.push_async_callback(roster.close)
        watch = asyncio.create_task(roster.watch(config.watch_s))
        watch.add_done_callback(lambda _: service.stopping.set())
        closing.callback(watch.cancel)
        # 4
        gateway = GatewayService(
            roster,
            TokenVerifier(bytes.fromhex(root.issuer_key), bytes.fromhex(root.token_challenge)),
            store,
            log.consistency,
            service.log,
            limits=Limits(exchanges=config.max_exchanges),
        )
        await serve(
            service,
            config.listen,
            lambda server: stubs.add_GatewayServicer_to_server(gateway, server),
        )


def _connect(address: str, certificate_der: bytes) -> aio.Channel:
    return open_channel(address, certificate_pem(certificate_der))


def _read_root(path: Path) -> TrustRoot:
    try:
        root = TrustRoot.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the trust root: {error.strerror}") from None
    root.admit(None)
    return root
