"""A view of the file system and a choice of ports, by Landlock (landlock(7), <linux/landlock.h>).

What each version of the kernel's interface (ABI) adds, and what is done without it:

| ABI | Linux | adds                               | without it                               |
|-----|-------|------------------------------------|------------------------------------------|
| 1   | 5.13  | files and folders                  | nothing is restricted                    |
| 2   | 5.19  | moving between folders             | such moves are always refused            |
| 3   | 6.2   | truncation                         | files outside can be emptied: not a view |
| 4   | 6.7   | TCP ports                          | ports are not restricted                 |
| 5   | 6.10  | ioctl of devices                   | those of devices in view are not either  |
| 6   | 6.12  | abstract unix sockets, signals     | neither is restricted                    |
| 7   | 6.15  | the kernel's audit log of refusals | nothing of ours depends on it            |

Restrictions add up: a second call can only take away. They bind the calling thread and whatever
it starts. A confined process cannot trace one outside either (ptrace, /proc/PID/mem).
"""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path
from typing import Final

from lanai.confinement.kernel import system_call
from lanai.confinement.protection import Confinement

__all__ = ["landlock_abi", "restrict"]

CREATE_RULESET: Final = 444  # the same on every machine
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
ASK_VERSION: Final = 1
RULE_PATH_BENEATH: Final = 1
RULE_NET_PORT: Final = 2
NET_BIND: Final = 1
NET_CONNECT: Final = 2
SCOPE_ABSTRACT_UNIX: Final = 1
SCOPE_SIGNAL: Final = 2

ABI_TRUNCATE: Final = 3
ABI_NETWORK: Final = 4
ABI_SCOPES: Final = 6


class Access(IntFlag):
    """Rights over files, in the kernel's order."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


LOOK = Access.READ_FILE | Access.READ_DIR
CHANGE = (
    LOOK
    | Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.REFER
    | Access.TRUNCATE
    | Access.IOCTL_DEV
)
OF_A_FILE = (
    Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
)
"""The rights that a rule over something that is no folder may name."""


def landlock_abi() -> int:
    """The interface's version; 0 where there is no Landlock, or it is switched off."""
    return max(0, system_call(CREATE_RULESET, None, 0, ASK_VERSION))


def restrict(confinement: Confinement) -> int:
    """Restrict the calling thread, which has no_new_privs. The ABI in force, or 0: nothing holds.

    1  what this kernel can refuse, all of it refused
    2  a rule for each path and port that stays
    3  from here on
    """
    abi = landlock_abi()
    handled = _files(abi)
    with _ruleset(confinement, abi, handled) as rules:  # 1
        if rules < 0:
            return 0
        _allow_paths(rules, confinement, handled)  # 2
        if abi >= ABI_NETWORK:
            _allow_ports(rules, confinement.tcp_connect)
        return abi if system_call(RESTRICT_SELF, rules, 0) == 0 else 0  # 3


def _files(abi: int) -> Access:
    """Every right over files that an ABI knows; later ABIs add no more of them up to 7."""
    known = Access.MAKE_SYM * 2 - 1
    for since, right in ((2, Access.REFER), (3, Access.TRUNCATE), (5, Access.IOCTL_DEV)):
        known |= right if abi >= since else 0
    return Access(known)


@contextmanager
def _ruleset(confinement: Confinement, abi: int, files: Access) -> Iterator[int]:
    """A ruleset's descriptor, or a negative error. Its attributes grew with the ABI."""
    network = NET_CONNECT if confinement.tcp_bind else NET_CONNECT | NET_BIND
    words = struct.pack("=QQQ", files, network, SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL)
    size = 24 if abi >= ABI_SCOPES else 16 if abi >= ABI_NETWORK else 8
    rules = system_call(CREATE_RULESET, words[:size], size, 0) if abi else -1
    try:
        yield rules
    finally:
        if rules >= 0:
            os.close(rules)


def _allow_paths(rules: int, confinement: Confinement, handled: Access) -> None:
    execute = Access.EXECUTE if confinement.execute else Access(0)
    for paths, rights in ((confinement.read, LOOK | execute), (confinement.write, CHANGE)):
        for path in paths:
            _allow_path(rules, path, rights & handled)


def _allow_path(rules: int, path: Path, rights: Access) -> None:
    """A path that is not there, or not ours to reach, gets no rule: it stays refused."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_A_FILE
        # struct landlock_path_beneath_attr is packed.
        system_call(ADD_RULE, rules, RULE_PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _allow_ports(rules: int, ports: frozenset[int]) -> None:
    for port in ports:
        rule = struct.pack("=QQ", NET_CONNECT, port)
        system_call(ADD_RULE, rules, RULE_NET_PORT, rule, 0)
