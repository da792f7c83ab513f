"""Which system calls a `Confinement` leaves: a list of what is refused, and why.

A list of refusals, not of permissions: what Python, torch and gRPC call changes with each of
their releases and with the C library, and a filter that ends a node at a new release's first
`rseq` protects nobody. What matters is that no refused thing has another door, so each group in
`system_calls` is refused whole, and calls whose arguments decide are looked into:

- `clone3` passes its flags in memory, which a filter cannot read. It answers ENOSYS, on which the C
  library takes `clone`.
- `clone` makes no namespace (`unshare` by another name); threads and processes are told apart.
- `socket` makes TCP only, since Landlock's ports are about nothing else: MPTCP, SCTP and SMC ask
  for a port too, AF_VSOCK leads out of a virtual machine, AF_NETLINK and AF_ALG into the kernel.
- `sendto` and its kin do not open a connection by TCP Fast Open, which Landlock does not see.
- `socketpair` makes no datagram pair: its ends can send to any unix socket's address.
"""

import socket
from dataclasses import dataclass
from typing import Final

from lanai.confinement.protection import Confinement
from lanai.confinement.system_calls import (
    KERNEL,
    KEYRINGS,
    MARKS,
    NAMESPACES,
    RINGS,
    SHARED,
    TRACING,
)

__all__ = ["Only", "Rules", "rules_of"]

ALWAYS: Final = (TRACING, KERNEL, NAMESPACES, KEYRINGS, RINGS, SHARED, MARKS)
LISTENING: Final = ("bind", "listen", "accept", "accept4")
CLONE_THREAD: Final = 0x00010000
# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; NEWTIME is clone3's and unshare's.
CLONE_NAMESPACES: Final = 0x7E020000
SOCKET_KIND: Final = 0xF
"""The low bits of a socket's type; above them are SOCK_CLOEXEC and SOCK_NONBLOCK."""
MSG_FASTOPEN: Final = 0x20000000
WHOLE: Final = 0xFFFFFFFF
FLAGS_OF_SENDING: Final = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """The call is left if ``argument & mask`` is among ``values`` (32 low bits, as it is read)."""

    argument: int
    mask: int
    values: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``refused`` fail with EPERM, ``absent`` with ENOSYS, ``limited`` need every `Only` met."""

    limited: dict[str, tuple[Only, ...]]
    absent: tuple[str, ...]
    refused: tuple[str, ...]


def rules_of(confinement: Confinement) -> Rules:
    """What a process under ``confinement`` may call."""
    refused = [name for group in ALWAYS for name in group]
    if not confinement.execute:
        refused += ["execve", "execveat"]
    if not confinement.fork:
        refused += ["fork", "vfork"]
    if not confinement.sockets:
        refused += ["socket", "connect"]
    if not confinement.tcp_bind:
        refused += LISTENING
    return Rules(limited=_limited(confinement), absent=("clone3",), refused=tuple(refused))


def _limited(confinement: Confinement) -> dict[str, tuple[Only, ...]]:
    pair = _only(1, SOCKET_KIND, socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
    limited = {"clone": _clone(confinement), "socketpair": (_unix(), pair)}
    if confinement.sockets:
        limited["socket"] = _socket(confinement)
        limited |= {
            name: (_only(flags, MSG_FASTOPEN, 0),) for name, flags in FLAGS_OF_SENDING.items()
        }
    return limited


def _clone(confinement: Confinement) -> tuple[Only, ...]:
    kinds = {CLONE_THREAD} if confinement.threads else set()
    kinds |= {0} if confinement.fork else set()
    return _only(0, CLONE_NAMESPACES, 0), _only(0, CLONE_THREAD, *kinds)


def _socket(confinement: Confinement) -> tuple[Only, ...]:
    families = {socket.AF_INET, socket.AF_INET6}
    kinds, protocols = {socket.SOCK_STREAM}, {0, socket.IPPROTO_TCP}
    if confinement.unix_sockets:
        families.add(socket.AF_UNIX)
    if confinement.datagrams:
        kinds.add(socket.SOCK_DGRAM)
        protocols.add(socket.IPPROTO_UDP)
    return (
        _only(0, WHOLE, *families),
        _only(1, SOCKET_KIND, *kinds),
        _only(2, WHOLE, *protocols),
    )


def _unix() -> Only:
    return _only(0, WHOLE, socket.AF_UNIX)


def _only(argument: int, mask: int, *values: int) -> Only:
    return Only(argument=argument, mask=mask, values=frozenset(map(int, values)))
