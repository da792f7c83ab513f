"""A port for a party whose address others must know before it listens."""

import errno
import random
import socket
from pathlib import Path
from typing import Final

from lanai.errors import CloudUnavailable

__all__ = ["free_port"]

LOWEST: Final = 10_000
TRIES: Final = 50
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that is free on loopback now.

    Below the range outgoing connections draw from, so that none takes it before it is bound.
    """
    above = int(_RANGE.read_text().split()[0])
    for _ in range(TRIES):
        port = random.randrange(LOWEST, max(above, LOWEST + 1000))  # noqa: S311
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise CloudUnavailable(f"cannot bind loopback: {error.strerror}") from error
                continue
        return port
    raise CloudUnavailable("no free port on loopback", hint="stop what uses so many ports")
