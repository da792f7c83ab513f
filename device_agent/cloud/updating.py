"""The enrolled cluster under its newest trust root: a `CloudClient`, replaced when that changes.

A trust root that is due for an update is updated before the first use in a process, and later
beside the requests, never in front of one, as long as it has not expired. An update that cannot
reach anybody changes nothing until then. One that is refused stops the cloud: the next use tries
again, and raises what refuses it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

from device_agent.cloud.client import CloudClient
from device_agent.cloud.relay_files import relay_files
from device_agent.cloud.request import CloudRequest
from device_agent.cloud.status import status_of
from device_agent.cloud.stream import CloudStream
from device_agent.cloud.tally import Counts
from device_agent.cloud.values import CloudStatus
from lanai.errors import CloudError, CloudUnavailable, DeadlineExceeded, LanaiError, TrustError
from lanai.folders import Folders
from lanai.settings import Settings
from trust.root import TrustRoot
from trust.updates import FileSource, TrustRootStore, TrustState

__all__ = ["UpdatingCloud"]

UPDATE_S: Final = 10.0
RETRY_S: Final = 60.0
"""Between two updates that reached nobody."""

Make = Callable[[TrustRoot], CloudClient]
Source = Callable[[TrustRoot], AbstractAsyncContextManager[FileSource]]


class UpdatingCloud:
    """`Cloud` for an enrolled device. ``clock`` is unix seconds, ``monotonic`` a steady clock.

    ``client`` is the one under ``state``. ``make`` admits a trust root and makes the next one;
    ``source`` reads files through a root's relay.
    """

    def __init__(
        self,
        store: TrustRootStore,
        state: TrustState,
        client: CloudClient,
        *,
        make: Make,
        source: Source = relay_files,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._state = state
        self._make = make
        self._source = source
        self._clock = clock
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._ask_first = True
        """The next use waits for an update that is due."""
        self._retry_at = monotonic()
        self._updating: asyncio.Task[None] | None = None
        self._client = client
        self._target = state.target
        self._live: Counter[CloudClient] = Counter()

    @classmethod
    def enrolled(cls, folders: Folders, settings: Settings) -> "UpdatingCloud | None":
        """The enrolled cluster; None when none is. Touches no network.

        Raises ``TrustRootRejected`` when the trust root is malformed or not admitted under
        ``settings.profile``, ``ConfigError`` or ``StoreError`` for unusable files. An expired one
        is no error yet: the first use updates it.
        """
        store = TrustRootStore.of(folders.state)
        state = store.state()
        root = None if state is None else state.trust_root
        first = None if root is None else CloudClient.under(root, folders, settings)
        if state is None or first is None:
            return None

        def make(root: TrustRoot) -> CloudClient:
            client = CloudClient.under(root, folders, settings)
            if client is None:
                raise CloudUnavailable("the account is gone", hint="enrol again")
            return client

        return cls(store, state, first, make=make)

    async def status(self) -> CloudStatus:
        """What could be asked of the cluster now. Never raises for one that is down or refused."""
        try:
            client = await self._ready(UPDATE_S)
        except LanaiError as error:
            return status_of((), error, None, Counts())
        return await client.status()

    @asynccontextmanager
    async def open(
        self, request: CloudRequest, *, deadline_s: float
    ) -> AsyncGenerator[CloudStream, None]:
        """As `CloudClient.open`, under the newest trust root."""
        begun = self._monotonic()
        client = await self._ready(min(UPDATE_S, deadline_s))
        left_s = deadline_s - (self._monotonic() - begun)
        if deadline_s > 0 and left_s <= 0:
            raise DeadlineExceeded("the cloud did not answer in time", hint="allow more time")
        self._live[client] += 1
        try:
            async with client.open(request, deadline_s=left_s) as stream:
                yield stream
        finally:
            self._live[client] -= 1
            await self._close_unused(client)

    async def close(self) -> None:
        """Close the connections; an update that runs is given up. Idempotent."""
        if self._updating is not None:
            self._updating.cancel()
            with suppress(asyncio.CancelledError):
                await self._updating
        for client in {*self._live, self._client}:
            await client.close()

    async def _ready(self, timeout_s: float) -> CloudClient:
        """The client under a trust root that holds now.

        1. Update, when it is due: first where nothing is known yet or nothing holds, else beside.
        2. What has expired is no trust root.
        3. The client of this trust root; a new one when it is another than before.
        """
        # 1.
        now = self._clock()
        if self._state.is_due(now):
            if self._ask_first or now >= self._state.expires_at:
                await self._update(timeout_s)
            else:
                self._update_beside()
        # 2.
        self._state.require_fresh(self._clock())
        # 3.
        return await self._current()

    async def _update(self, timeout_s: float) -> None:
        """Raises ``TrustError``, ``StoreError``; nobody reached is no error here."""
        async with self._lock:
            if not self._state.is_due(self._clock()):
                return  # somebody else was quicker
            self._retry_at = self._monotonic() + RETRY_S
            try:
                with suppress(CloudError, TimeoutError):
                    async with asyncio.timeout(timeout_s), self._source(self._root()) as files:
                        await self._store.update(files)
            except TrustError:
                self._ask_first = True  # the next use tries again, and meets the refusal
                raise
            self._ask_first = False
            self._state = await asyncio.to_thread(self._known)

    def _update_beside(self) -> None:
        if self._updating is None and self._monotonic() >= self._retry_at:
            self._updating = asyncio.create_task(self._beside(), name="trust root update")

    async def _beside(self) -> None:
        try:
            with suppress(LanaiError):
                await self._update(UPDATE_S)
        finally:
            self._updating = None

    async def _current(self) -> CloudClient:
        if self._state.target != self._target:
            before, self._client = self._client, self._make(self._root())
            self._target = self._state.target
            await self._close_unused(before)
        return self._client

    def _root(self) -> TrustRoot:
        root = self._state.trust_root
        if root is None:
            raise _not_whole()
        return root

    def _known(self) -> TrustState:
        state = self._store.state()
        if state is None:
            raise _not_whole()
        return state

    async def _close_unused(self, client: CloudClient) -> None:
        """Close a client that was replaced, once its last answer ended."""
        if client is not self._client and not self._live[client]:
            del self._live[client]
            await client.close()


def _not_whole() -> CloudUnavailable:
    return CloudUnavailable("the enrolment is gone", hint="enrol again")
