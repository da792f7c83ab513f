"""A store inside one process: for tests and for reading how a store behaves.

There is no URL for it: two processes with one each would both let the same token through.
"""

import time
from collections.abc import Callable, Mapping

from cloud_node.store.protocol import (
    DIGEST_BYTES,
    REQUEST_ID_BYTES,
    check_announcement,
    check_id,
    check_ttl,
)
from lanai.errors import StoreError

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps entries in dictionaries. ``clock`` returns seconds and may be moved by a test."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[tuple[str, bytes], float] = {}
        self._nodes: dict[bytes, tuple[bytes, float]] = {}
        self.unavailable = False
        """Set by a test: every call then fails as a store that is gone does."""

    async def spend_token(self, token_hash: bytes, *, ttl_s: int) -> bool:
        return self._mark("spent", check_id(token_hash, DIGEST_BYTES), check_ttl(ttl_s))

    async def burn_request(self, request_id: bytes, *, ttl_s: int) -> bool:
        return self._mark("burned", check_id(request_id, REQUEST_ID_BYTES), check_ttl(ttl_s))

    async def announce(self, node_id: bytes, announcement: bytes, *, ttl_s: int) -> None:
        check_id(node_id, DIGEST_BYTES)
        lapses = self._clock() + check_ttl(ttl_s)
        self._answer()
        self._nodes[node_id] = (check_announcement(announcement), lapses)

    async def withdraw(self, node_id: bytes) -> None:
        self._answer()
        self._nodes.pop(check_id(node_id, DIGEST_BYTES), None)

    async def roster(self) -> Mapping[bytes, bytes]:
        self._answer()
        now = self._clock()
        self._nodes = {key: entry for key, entry in self._nodes.items() if entry[1] > now}
        return {key: announcement for key, (announcement, _) in self._nodes.items()}

    async def connect(self) -> None:
        """There is nothing to open."""

    async def ping(self) -> None:
        self._answer()

    async def close(self) -> None:
        """Nothing to give up."""

    def _mark(self, kind: str, value: bytes, ttl_s: int) -> bool:
        self._answer()
        now = self._clock()
        if self._marks.get((kind, value), now) > now:
            return False
        self._marks[kind, value] = now + ttl_s
        return True

    def _answer(self) -> None:
        if self.unavailable:
            raise StoreError("the store does not answer")
