"""Relay, gateway, issuer and nodes in one event loop, on free ports of 127.0.0.1."""

import io
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from grpc import aio

from cloud_node.events import Component, EventLog
from cloud_node.gateway.announcements import AnnouncementVerifier
from cloud_node.gateway.keys import LoggedKeys
from cloud_node.gateway.roster import Roster
from cloud_node.gateway.service import GatewayService, Limits
from cloud_node.gateway.spends import SpendVerifier
from cloud_node.gateway.unsealing import RingKeys
from cloud_node.identity import TlsIdentity, certificate_pem, open_channel, server_credentials
from cloud_node.issuer.accounts import AccountBook
from cloud_node.issuer.keys import IssuerKeys
from cloud_node.issuer.service import IssuerService
from cloud_node.keyring import KeyRing
from cloud_node.listening import ListenConfig
from cloud_node.relay import RelayConfig, RelayService
from cloud_node.service import PinnedEndpoint, start_grpc
from cloud_node.store import MemoryStore
from cloud_node.testing.node import OpenNode, StartEngine, open_node
from cloud_node.testing.world_log import WorldLog
from inference.text import TextModel
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import gateway_pb2_grpc, issuer_pb2_grpc
from protos.lanai.v1alpha.gateway_pb2 import FileResponse
from trust.keys import KeyPurpose, KeyVerifier
from trust.root import Endpoint, TrustRoot
from trust.testing import UnsafeTrustWorld
from trust.tokens import token_challenge
from trust.verification import NodeVerifier

__all__ = ["UnsafeCloud"]

CHALLENGE: Final = token_challenge("issuer.invalid")
KEY_LIFETIME_S: Final = 24 * 3600


class NoFiles:
    """A gateway without a static tree."""

    async def read(self, path: str) -> FileResponse:
        raise CloudRefused("no file", refusal=RefusalCode.BAD_REQUEST)


class UnsafeCloud:
    """Made by ``start``. Subclasses put parties of their own in place by the ``make_`` methods.

    ``root`` is what a device takes as given; ``account`` and ``credential`` are its at the issuer.
    """

    account: Final = "device"
    credential: Final = b"c" * 32
    threads: bool = True
    """See ``open_node``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = UnsafeTrustWorld(now=int(time.time()))
        self.log = WorldLog(self.world)
        self.store = MemoryStore()
        self.said = io.StringIO()
        self.events = EventLog(Component.CLUSTER, stream=self.said)
        self.rings: dict[KeyPurpose, KeyRing] = {
            purpose: KeyRing(folder / purpose, purpose) for purpose in ("issuer", "gateway")
        }
        self.nodes: list[OpenNode] = []
        self.root: TrustRoot = self.world.root
        self._closing = AsyncExitStack()

    @classmethod
    async def start(
        cls,
        folder: Path,
        *,
        text: TextModel,
        engines: Sequence[StartEngine],
        context_tokens: int = 256,
    ) -> Self:
        """One node for each of ``engines``.

        1. keys of issuer and gateway, in the log
        2. nodes, announced
        3. issuer, gateway, relay
        4. the trust root that names them
        """
        cloud = cls(folder)
        try:
            # 1
            for purpose in cloud.rings:
                cloud.rotate(purpose)
            # 2
            for number, engine in enumerate(engines):
                await cloud._add_node(f"node-{number}", text, engine, context_tokens)
            # 3
            issuer = await cloud._start_issuer()
            relay = await cloud._start_relay(await cloud._start_gateway())
        except BaseException:
            await cloud.close()
            raise
        # 4
        cloud.root = replace(
            cloud.world.root,
            relay=_endpoint(relay),
            issuer=_endpoint(issuer),
            token_challenge=CHALLENGE.hex(),
        )
        return cloud

    def rotate(self, purpose: KeyPurpose) -> bytes:
        """A new key of the issuer or the gateway, logged; returns its public half."""
        record = self.rings[purpose].add(now=self.world.now, lifetime_s=KEY_LIFETIME_S)
        self.log.append(record.canonical())
        return record.key

    async def close(self) -> None:
        """End everything, in the order nobody is left waiting. Idempotent."""
        await self._closing.aclose()

    def make_relay(self, gateway: "gateway_pb2_grpc.GatewayAsyncStub", config: RelayConfig) -> Any:
        return RelayService(gateway, config, self.events)

    def make_gateway(self, roster: Roster, keys: LoggedKeys) -> Any:
        return GatewayService(
            roster,
            keys,
            SpendVerifier(keys, CHALLENGE),
            self.store,
            self.log.consistency,
            NoFiles(),
            self.events,
            opening=RingKeys(self.rings["gateway"], clock=time.time),
            limits=Limits(),
        )

    def make_issuer(self, keys: IssuerKeys, book: AccountBook) -> Any:
        return IssuerService(keys, book, self.events)

    async def _add_node(
        self, name: str, text: TextModel, engine: StartEngine, context_tokens: int
    ) -> None:
        node = await open_node(
            self.world,
            self.log,
            self.store,
            self.events,
            name=name,
            text=text,
            engine=engine,
            context_tokens=context_tokens,
            threads=self.threads,
        )
        self._closing.push_async_callback(node.close)
        self.nodes.append(node)

    async def _start_issuer(self) -> PinnedEndpoint:
        book = AccountBook(self.folder / "accounts.sqlite")
        self._closing.callback(book.close)
        book.add(self.account, self.credential, daily_tokens=100_000)
        issuer = self.make_issuer(IssuerKeys(self.rings["issuer"], clock=time.time), book)
        return await self._serve(
            "issuer", lambda server: issuer_pb2_grpc.add_IssuerServicer_to_server(issuer, server)
        )

    async def _start_gateway(self) -> PinnedEndpoint:
        root = self.world.root
        verifier = AnnouncementVerifier(NodeVerifier(root), self.log.consistency, max_age_s=3600)
        roster = Roster(self.store, verifier, _connect, self.events)
        self._closing.push_async_callback(roster.close)
        await roster.refresh()
        keys = LoggedKeys(self.log, KeyVerifier(root), self.events)
        await keys.refresh()
        self.logged_keys = keys
        gateway = self.make_gateway(roster, keys)
        return await self._serve(
            "gateway",
            lambda server: gateway_pb2_grpc.add_GatewayServicer_to_server(gateway, server),
        )

    async def _start_relay(self, gateway: PinnedEndpoint) -> PinnedEndpoint:
        channel = open_channel(gateway.address, gateway.certificate.encode())
        self._closing.push_async_callback(channel.close, None)
        listen = ListenConfig(identity=self.folder / "unused")
        config = RelayConfig(listen=listen, gateway=gateway)
        self.gateway = gateway_pb2_grpc.GatewayStub(channel)
        relay = self.make_relay(self.gateway, config)
        return await self._serve(
            "relay", lambda server: gateway_pb2_grpc.add_RelayServicer_to_server(relay, server)
        )

    async def _serve(self, name: str, register: Callable[[aio.Server], None]) -> PinnedEndpoint:
        identity = TlsIdentity.generate(name)
        server, address = await start_grpc(register, server_credentials(identity))
        stop: Callable[[float | None], Awaitable[None]] = server.stop
        self._closing.push_async_callback(stop, None)
        return PinnedEndpoint(address=address, certificate=identity.certificate_pem.decode("ascii"))


def _endpoint(pinned: PinnedEndpoint) -> Endpoint:
    return Endpoint(address=pinned.address, certificate=pinned.certificate)


def _connect(address: str, certificate_der: bytes) -> aio.Channel:
    return open_channel(address, certificate_pem(certificate_der))
