"""The embedded store as a process: `python -m cloud_node.store --config FILE.json`.

The ready line's address is the socket's path. Clients build their URL with ``store_url``.
"""

import asyncio
from pathlib import Path

from cloud_node.events import Component
from cloud_node.service import Service, main
from cloud_node.store.config import StoreConfig
from cloud_node.store.embedded import EmbeddedStore
from cloud_node.store.roles import Passwords
from lanai.errors import StoreError

WATCH_S = 0.5


async def run(config: StoreConfig, service: Service) -> None:
    """Own the server until told to stop; fail when the server ends by itself."""
    store = EmbeddedStore.start(
        Path(config.folder),
        Path(config.socket),
        Passwords(of=config.passwords),
        shared=config.shared,
    )
    try:
        service.ready(config.socket)
        while store.alive and not service.stopping.is_set():
            await _wait(service.stopping, WATCH_S)
        if not store.alive:
            raise StoreError("the embedded store ended by itself")
    finally:
        store.stop()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


if __name__ == "__main__":
    main(Component.STORE, StoreConfig, run)
