"""Which supervisor looks after a launcher: a file lock beside its socket.

The file is made by the supervisor, or before it by whoever gave the two users of their own.
The kernel gives a lock up when its holder dies, so a killed supervisor never blocks its successor.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from lanai.errors import CloudUnavailable

__all__ = ["Claim", "claim_launcher"]

POLL_S = 0.1


class Claim:
    """A launcher that is ours until ``release`` or the end of this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another supervisor have it. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def claim_launcher(socket: Path, *, within_s: float) -> Claim:
    """Wait until nobody else looks after this launcher. Raises ``CloudUnavailable``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while loop.time() < deadline:
        if claim := _try(socket.with_suffix(".claim")):
            return claim
        await asyncio.sleep(POLL_S)
    raise CloudUnavailable(
        "another supervisor looks after this launcher", hint="see `lanai cloud status`"
    )


def _try(lock: Path) -> Claim | None:
    try:
        # A lock takes no right to write: a supervisor of another user can have this one, no more.
        descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CloudUnavailable(
            f"the claim on this launcher cannot be opened ({error.strerror})",
            hint="is the launcher running? see `lanai cloud status`",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Claim(descriptor)
