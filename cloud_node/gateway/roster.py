"""The nodes the gateway may use now, kept in step with the store's announcements.

A node leaves when its key expires, or when its announcement *and* its channel are gone: a store
that forgets, lies or dies takes no working node away.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as data_field
from typing import Final

import grpc
from grpc import aio

from cloud_node.events import Event, EventLog, Field
from cloud_node.gateway.announcements import Announced, AnnouncementVerifier
from cloud_node.store import Store
from lanai.errors import StoreError, TrustError
from protos.lanai.v1alpha import bundle_pb2, node_pb2

__all__ = ["Connect", "NodeEntry", "Roster"]

MAX_SHOWN: Final = 64
"""Bundles in one roster answer; devices pick a few at random anyway."""
_INFER: Final = "/lanai.v1alpha.Node/Infer"

Connect = Callable[[str, bytes], aio.Channel]
"""Opens a channel to an address, pinned to one certificate (DER)."""


@dataclass(slots=True, kw_only=True)
class NodeEntry:
    """A verified node with its channel. ``in_flight`` counts this gateway's own streams."""

    announced: Announced
    channel: aio.Channel
    infer: "aio.StreamStreamMultiCallable[node_pb2.InferRequest, bytes]" = data_field(init=False)
    in_flight: int = 0
    announcement_gone: bool = False

    def __post_init__(self) -> None:
        # Answers stay bytes: they are forwarded as they came.
        self.infer = self.channel.stream_stream(
            _INFER,
            request_serializer=node_pb2.InferRequest.SerializeToString,
            response_deserializer=None,
        )

    @property
    def load(self) -> tuple[int, int, float]:
        """Sorts the least loaded first; ties fall at random."""
        return (self.in_flight, self.announced.live_streams, random.random())  # noqa: S311

    @property
    def connected(self) -> bool:
        state = self.channel.get_state(try_to_connect=True)
        return state is grpc.ChannelConnectivity.READY


class Roster:
    """Verified nodes by id. One task calls ``watch``; everyone else only reads."""

    def __init__(
        self,
        store: Store,
        verifier: AnnouncementVerifier,
        connect: Connect,
        events: EventLog,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._connect = connect
        self._events = events
        self._clock = clock
        self._nodes: dict[bytes, NodeEntry] = {}
        self._store_gone = False

    def candidates(self, wanted: Iterable[bytes]) -> list[NodeEntry]:
        """Usable nodes among ``wanted``, least loaded first."""
        usable = self._usable()
        return sorted(
            (usable[node_id] for node_id in set(wanted) & usable.keys()), key=lambda n: n.load
        )

    def bundles(self) -> Sequence[bundle_pb2.NodeBundle]:
        """Bundles of usable nodes, to show to devices (which verify them again).

        Keys that were rotated out are served until they expire and shown no more: nothing new
        should be sealed to them. A store that forgot everything hides nothing.
        """
        usable = list(self._usable().values())
        nodes = [entry for entry in usable if not entry.announcement_gone] or usable
        shown = random.sample(nodes, min(len(nodes), MAX_SHOWN))
        return [entry.announced.bundle for entry in shown]

    async def watch(self, interval_s: float) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(interval_s)

    async def refresh(self) -> None:
        """Read the store once; admit what verifies, evict what is gone twice over."""
        try:
            announcements = await self._store.roster()
        except StoreError:
            self._note_store(gone=True)
        else:
            self._note_store(gone=False)
            await self._admit(announcements)
        await self._evict()

    async def close(self) -> None:
        """Close every channel."""
        while self._nodes:
            _, entry = self._nodes.popitem()
            await entry.channel.close(None)

    def _usable(self) -> Mapping[bytes, NodeEntry]:
        now = self._clock()
        return {
            node_id: entry
            for node_id, entry in self._nodes.items()
            if not entry.announced.draining and now < entry.announced.node.expires_at
        }

    async def _admit(self, announcements: Mapping[bytes, bytes]) -> None:
        present = set()
        for node_id, data in announcements.items():
            try:
                announced = await self._verifier.verify(node_id, data)
            except TrustError as error:
                self._events.emit(Event.NODE_REJECTED, {Field.REASON: error.reason})
                continue
            except aio.AioRpcError:
                # The log gave no consistency proof: this announcement waits for the next round.
                self._events.emit(Event.LOG_UNAVAILABLE)
                continue
            present.add(node_id)
            await self._take(node_id, announced)
        for node_id, entry in self._nodes.items():
            entry.announcement_gone = node_id not in present
        self._verifier.forget(keep=lambda node: node.node_id in self._nodes)

    async def _take(self, node_id: bytes, announced: Announced) -> None:
        known = self._nodes.get(node_id)
        if known is not None and announced.issued_at < known.announced.issued_at:
            return  # the store shows an older one than was seen
        if known is not None and _same_peer(known.announced, announced):
            known.announced = announced
            return
        channel = self._connect(announced.address, announced.node.tls_certificate)
        channel.get_state(try_to_connect=True)
        self._nodes[node_id] = NodeEntry(announced=announced, channel=channel)
        if known is not None:
            await known.channel.close(None)
        else:
            self._events.emit(Event.NODE_ADMITTED, {Field.NODES: len(self._nodes)})

    async def _evict(self) -> None:
        now = self._clock()
        for node_id, entry in list(self._nodes.items()):
            expired = now >= entry.announced.node.expires_at
            gone = entry.announcement_gone and not entry.connected
            # A stream that runs past its node's expiry was sealed before it, and may finish.
            if (expired and not entry.in_flight) or gone:
                del self._nodes[node_id]
                await entry.channel.close(None)
                self._events.emit(Event.NODE_EVICTED, {Field.NODES: len(self._nodes)})

    def _note_store(self, *, gone: bool) -> None:
        if gone != self._store_gone:
            self._store_gone = gone
            self._events.emit(Event.STORE_UNAVAILABLE if gone else Event.STORE_BACK)


def _same_peer(old: Announced, new: Announced) -> bool:
    return (old.address, old.node.tls_certificate) == (new.address, new.node.tls_certificate)
