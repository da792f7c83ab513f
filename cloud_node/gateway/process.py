"""The gateway's process: store, log and nodes on one side, the relay on the other."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from grpc import aio
from pydantic import Field

from cloud_node.gateway.announcements import AnnouncementVerifier
from cloud_node.gateway.files import HttpFiles
from cloud_node.gateway.keys import LoggedKeys
from cloud_node.gateway.log_reader import LogReader
from cloud_node.gateway.roster import Roster
from cloud_node.gateway.service import GatewayService, Limits
from cloud_node.gateway.spends import SpendVerifier
from cloud_node.gateway.unsealing import RingKeys
from cloud_node.identity import certificate_pem, open_channel
from cloud_node.keyring import KeyRing
from cloud_node.listening import ListenConfig, serve
from cloud_node.service import PinnedEndpoint, Service, ServiceConfig
from cloud_node.store import open_store
from lanai.errors import ConfigError
from protos.lanai.v1alpha import gateway_pb2_grpc as stubs
from trust.keys import KeyVerifier
from trust.root import TrustRoot
from trust.verification import NodeVerifier

__all__ = ["GatewayConfig", "run"]


class GatewayConfig(ServiceConfig):
    """Where the gateway listens and whom it asks. ``store_url`` is its own role's."""

    listen: ListenConfig
    trust_root: Path
    store_url: str = Field(repr=False)
    log: PinnedEndpoint
    static_url: str = Field(pattern=r"^https?://[^\s?#]+$")
    """Where the public tree is served."""
    watch_s: float = Field(0.3, gt=0)
    """Time between two looks at the store."""
    keys: Path
    """Folder of the keys that devices seal to."""
    keys_s: float = Field(1.0, gt=0)
    """Time between two looks at the log for new keys."""
    announcement_max_age_s: int = Field(60, ge=1)
    max_exchanges: int = Field(256, ge=1)


async def run(config: GatewayConfig, service: Service) -> None:
    """The process, until it is told to stop.

    1. trust root
    2. store, log, public files
    3. roster and logged keys, each with the task that watches for changes
    4. serve
    """
    async with AsyncExitStack() as closing:
        # 1
        root = _read_root(config.trust_root)
        # 2
        store = open_store(config.store_url)
        closing.push_async_callback(store.close)
        await store.connect()
        channel = open_channel(config.log.address, config.log.certificate.encode())
        closing.push_async_callback(channel.close, None)
        log = LogReader(channel)
        files = HttpFiles(config.static_url)
        closing.push_async_callback(files.close)
        # 3
        verifier = AnnouncementVerifier(
            NodeVerifier(root), log.consistency, max_age_s=config.announcement_max_age_s
        )
        roster = Roster(store, verifier, _connect, service.log)
        closing.push_async_callback(roster.close)
        keys = LoggedKeys(log, KeyVerifier(root), service.log)
        await keys.refresh()
        for watching in (roster.watch(config.watch_s), keys.watch(config.keys_s)):
            watch = asyncio.create_task(watching)
            watch.add_done_callback(lambda _: service.stopping.set())
            closing.callback(watch.cancel)
        # 4
        gateway = GatewayService(
            roster,
            keys,
            SpendVerifier(keys, bytes.fromhex(root.token_challenge)),
            store,
            log.consistency,
            files,
            service.log,
            opening=RingKeys(KeyRing(config.keys, "gateway"), clock=time.time),
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
