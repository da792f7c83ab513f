"""Which supervisor looks after which launcher on this host: a file lock for each socket.

The kernel gives a lock up when its holder dies, so a killed supervisor never blocks its successor.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from lanai.errors import CloudUnavailable

__all__ = ["PATTERN", "Claim", "claim_launcher"]

PATTERN = "launcher-*.sock"
POLL_S = 0.1


class Claim:
    """A launcher that is ours until ``release`` or the end of this process."""

    def __init__(self, socket: Path, descriptor: int) -> None:
        self.socket = socket
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another supervisor have it. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def claim_launcher(folder: Path, *, within_s: float) -> Claim:
    """The first free launcher in ``folder``, waiting for one if all are taken.

    Raises ``CloudUnavailable`` when none became free.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while loop.time() < deadline:
        if claim := _first_free(folder):
            return claim
        await asyncio.sleep(POLL_S)
    raise CloudUnavailable(
        "no launcher is free on this host", hint="start one more launcher, or scale down"
    )


def _first_free(folder: Path) -> Claim | None:
    for path in sorted(folder.glob(PATTERN)):
        descriptor = os.open(path.with_suffix(".claim"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return Claim(path, descriptor)
    return None
