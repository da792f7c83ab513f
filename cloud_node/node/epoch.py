"""One pair of keys in service: its port, its bundle, its announcements.

Keys and TLS certificate change together, and a certificate is pinned by whoever sealed to it. So
new keys get a port of their own, and the old port lives on until its bundle expires.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from grpc import aio

from cloud_node.identity import TlsIdentity, server_credentials
from cloud_node.node.announcer import Announcer
from cloud_node.node.bundle import BundleMaker
from cloud_node.node.front import Front, Shared
from cloud_node.node.keyholding import KeySession
from cloud_node.node.keys import NodeKeys
from cloud_node.service import start_grpc
from trust.bundle import NodeBundle

__all__ = ["Epoch", "EpochPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPlan:
    """How epochs of one node are opened."""

    name: str
    host: str
    key_lifetime_s: int
    announce_s: float
    shared: Shared
    bundles: BundleMaker


class Epoch:
    """Made by ``open``; ``close`` ends the port. ``bundle`` is the newest for these keys."""

    def __init__(
        self, plan: EpochPlan, session: KeySession, keys: NodeKeys, bundle: NodeBundle
    ) -> None:
        self._plan = plan
        self._session = session
        self._announcing: asyncio.Task[None] | None = None
        self._server: aio.Server | None = None
        self._announcer: Announcer | None = None
        self.keys = keys
        self.bundle = bundle
        self.address = ""

    @classmethod
    async def open(cls, plan: EpochPlan) -> "Epoch":
        """Have keys made and attested, have them proved, listen, and announce.

        Raises ``CloudUnavailable`` without the keyholder or the log.
        """
        identity = TlsIdentity.generate(plan.name, lifetime_s=plan.key_lifetime_s)
        session = await plan.shared.keyholding.keys(
            identity.spki_sha256, lifetime_s=plan.key_lifetime_s
        )
        keys = NodeKeys(offer=session.offer, identity=identity)
        try:
            epoch = cls(plan, session, keys, await plan.bundles.make(keys))
            await epoch._listen()
        except BaseException:
            session.close()
            raise
        return epoch

    async def keys_lost(self) -> None:
        """Until the keyholder has let go of these keys: nothing sealed to them opens any more."""
        await self._session.lost()

    async def refresh(self) -> None:
        """A bundle with the log's newest checkpoint. Raises ``CloudUnavailable``, keeps the old."""
        self.bundle = await self._plan.bundles.make(self.keys)

    async def announce(self) -> None:
        """Announce now, besides the regular announcements."""
        if self._announcer is not None and self._announcing is not None:
            await self._announcer.announce()

    async def withdraw(self) -> None:
        """Leave the roster for good; the port stays open. Idempotent."""
        if self._announcing is None or self._announcer is None:
            return
        self._announcing.cancel()
        with suppress(asyncio.CancelledError):
            await self._announcing
        self._announcing = None
        await self._announcer.withdraw()

    async def close(self) -> None:
        """Withdraw, end the port, have the keys dropped; what is live there is cancelled."""
        await self.withdraw()
        if self._server is not None:
            await self._server.stop(None)
        self._session.close()

    async def _listen(self) -> None:
        plan, shared = self._plan, self._plan.shared
        front = Front(shared, self.keys, lambda: self.bundle)
        self._server, self.address = await start_grpc(
            front.register, server_credentials(self.keys.identity), host=plan.host
        )
        self._announcer = Announcer(
            shared.store,
            self.keys,
            self.address,
            lambda: self.bundle,
            shared.load,
            shared.log,
            every_s=plan.announce_s,
            clock=shared.clock,
        )
        await self._announcer.announce()
        self._announcing = asyncio.create_task(self._announcer.run())
