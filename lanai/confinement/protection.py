"""What can be asked for, and what was granted."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lanai.errors import ConfigError

__all__ = ["Confinement", "Granted", "Protection"]

MAX_PORT = 65535


class Protection(StrEnum):
    """One thing that others can no longer do to this process, or it to others."""

    NO_DUMP = "no_dump"
    """Another process of this user reads neither its memory nor its environment."""
    NO_CORE = "no_core"
    LOCKED_MEMORY = "locked_memory"
    """No page is ever written to swap, whatever the host does later."""
    NO_SWAP = "no_swap"
    """Instead of the above: memory could not be locked, and the host had no swap to write to."""
    NO_NEW_PRIVILEGES = "no_new_privileges"
    """No capability is left, and no program it might run brings one."""
    READ_ONLY_VIEW = "read_only_view"
    """Files outside ``read`` and ``write`` cannot be opened, nothing outside ``write`` changes."""
    NO_NETWORK = "no_network"
    """No address but the allowed ones is reached, no port bound that is not allowed."""
    OWN_SIGNALS = "own_signals"
    """Signals reach its own children only."""
    SYSTEM_CALLS = "system_calls"
    EMPTY_ENVIRONMENT = "empty_environment"
    CLOSED_DESCRIPTORS = "closed_descriptors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """All that stays allowed. The default is a process that computes on what it holds.

    Descriptors that are open already keep working, whatever is said here: a refused ``socket()``
    does not close a socket. ``socketpair`` of streams and packets stays, since it leads nowhere.
    """

    read: tuple[Path, ...] = ()
    """Files and folders with all that is below them; what does not exist is passed over."""
    write: tuple[Path, ...] = ()
    """The same, with the right to change, make and remove; or a device to speak to."""
    tcp_connect: frozenset[int] = frozenset()
    """Ports, of any host."""
    tcp_bind: bool = False
    """Listening, on any port."""
    sockets: bool = False
    """Making TCP sockets. Without it, nothing below or above about sockets has a meaning."""
    unix_sockets: bool = False
    """Making unix sockets too. Which files they reach is left to file permissions."""
    datagrams: bool = False
    """UDP as well, to any address: what a resolver of host names needs."""
    fork: bool = False
    execute: bool = False
    threads: bool = True
    environment: frozenset[str] = frozenset()
    """Names of variables that stay, such as a library's thread count. Never a secret's."""

    def __post_init__(self) -> None:
        if any(not 0 < port <= MAX_PORT for port in self.tcp_connect):
            raise ConfigError("a TCP port is a number from 1 to 65535")
        network = self.tcp_connect or self.tcp_bind or self.unix_sockets or self.datagrams
        if network and not self.sockets:
            raise ConfigError("ports and kinds of sockets were allowed, and sockets were not")


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What holds from now on. ``missing`` has what was asked for and is not held.

    Of `LOCKED_MEMORY` and `NO_SWAP` one is enough, and ``held`` says which.
    """

    held: frozenset[Protection]
    missing: frozenset[Protection]

    @classmethod
    def of(cls, held: frozenset[Protection]) -> "Granted":
        """The verdict over what is held: everything else is missing."""
        swap = {Protection.LOCKED_MEMORY, Protection.NO_SWAP}
        missing = frozenset(Protection) - held - {Protection.NO_SWAP}
        return cls(held=held, missing=missing - swap if held & swap else missing)
