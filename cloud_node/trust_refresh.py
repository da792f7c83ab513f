"""Keeps the trust root's metadata fresh, in the process that serves it: a timestamp every hour.

A timestamp holds for a day, so a device that can reach nobody believes for a day at most, and an
operator has a day to notice that signing fails.
"""

import asyncio
from pathlib import Path
from typing import Final

from pydantic import Field as Limit

from cloud_node.events import Event, EventLog
from cloud_node.service import ServiceConfig
from lanai.errors import LanaiError

__all__ = ["TrustRefresh", "refresh_trust"]

HOUR_S: Final = 3600.0


class TrustRefresh(ServiceConfig):
    """Where the metadata is, and the keys that sign it: at least snapshot's and timestamp's."""

    tree: Path
    keys: Path
    interval_s: float = Limit(HOUR_S, gt=0)


async def refresh_trust(config: TrustRefresh, events: EventLog) -> None:
    """Sign anew at once and then each interval, until cancelled. A failure is an event.

    Nothing is done before the first publication.
    """
    # Here, since it loads tuf: a log without a trust root does without.
    from cloud_node.trust_repository import TrustRepository

    repository = TrustRepository(config.tree, config.keys)
    while True:
        if (config.tree / "timestamp.json").exists():
            try:
                await asyncio.to_thread(repository.refresh)
                events.emit(Event.TRUST_SIGNED)
            except LanaiError as error:
                events.emit(Event.FAILED, error=error)
        await asyncio.sleep(config.interval_s)
