"""The node's own memory of request ids: at most once here, even if the store lies."""

import heapq

__all__ = ["ReplaySet"]


class ReplaySet:
    """Ids until their envelope's expiry. A restart forgets them, and brings a new key with it.

    ``capacity`` bounds memory: a full set admits nothing, so that nothing is forgotten early.
    """

    def __init__(self, *, capacity: int = 1_000_000) -> None:
        self._capacity = capacity
        self._seen: set[bytes] = set()
        self._by_expiry: list[tuple[int, bytes]] = []

    def admit(self, request_id: bytes, *, expires_at: int, now: float) -> bool:
        """True when the id is new and there is room for it; it is then remembered."""
        self._forget(now)
        if request_id in self._seen or self.full:
            return False
        self._seen.add(request_id)
        heapq.heappush(self._by_expiry, (expires_at, request_id))
        return True

    @property
    def full(self) -> bool:
        return len(self._seen) >= self._capacity

    def __len__(self) -> int:
        return len(self._seen)

    def _forget(self, now: float) -> None:
        while self._by_expiry and self._by_expiry[0][0] <= now:
            _, request_id = heapq.heappop(self._by_expiry)
            self._seen.discard(request_id)
