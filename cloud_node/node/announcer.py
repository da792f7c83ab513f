"""Puts the node's signed announcement in the store, again and again until it is withdrawn."""

import asyncio
import math
import time
from collections.abc import Callable

from cloud_node.events import Event, EventLog
from cloud_node.node.keys import NodeKeys
from cloud_node.node.load import Load
from cloud_node.store import Store
from lanai.errors import StoreError
from protos.lanai.v1alpha import bundle_pb2
from trust.bundle import NodeBundle

__all__ = ["Announcer"]

LAPSE_AFTER = 5
"""Announcements that may be missed before the store forgets the node."""
SHORTEST_TTL_S = 3


class Announcer:
    """One pair of keys at one address. A store that is gone is retried; the node serves on."""

    def __init__(
        self,
        store: Store,
        keys: NodeKeys,
        address: str,
        bundle: Callable[[], NodeBundle],
        load: Load,
        log: EventLog,
        *,
        every_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = keys
        self._address = address
        self._bundle = bundle
        self._load = load
        self._log = log
        self._every_s = every_s
        self._clock = clock
        self._reachable = True

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            await self.announce()
            await asyncio.sleep(self._every_s)

    async def announce(self) -> None:
        """Announce once; a failing store is an event, not an error."""
        ttl_s = max(SHORTEST_TTL_S, math.ceil(self._every_s * LAPSE_AFTER))
        try:
            await self._store.announce(self._keys.node_id, self.signed(), ttl_s=ttl_s)
        except StoreError as error:
            self._notice(reachable=False, error=error)
        else:
            self._notice(reachable=True)

    async def withdraw(self) -> None:
        """Leave the roster; if the store is gone, the announcement lapses by itself."""
        try:
            await self._store.withdraw(self._keys.node_id)
        except StoreError as error:
            self._notice(reachable=False, error=error)

    def signed(self) -> bytes:
        """A ``SignedAnnouncement`` as of now, serialized."""
        announcement = bundle_pb2.Announcement(
            address=self._address,
            bundle=self._bundle().to_proto(),
            live_streams=self._load.live,
            issued_at=int(self._clock()),
            draining=self._load.draining,
        ).SerializeToString(deterministic=True)
        return bundle_pb2.SignedAnnouncement(
            announcement=announcement, signature=self._keys.identity.sign(announcement)
        ).SerializeToString(deterministic=True)

    def _notice(self, *, reachable: bool, error: StoreError | None = None) -> None:
        if reachable != self._reachable:
            self._log.emit(Event.STORE_BACK if reachable else Event.STORE_UNAVAILABLE, error=error)
        self._reachable = reachable
