"""The whole of it, in the one order that works."""

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache

from lanai.confinement.capabilities import drop_capabilities, forbid_new_privileges
from lanai.confinement.descriptors import close_descriptors
from lanai.confinement.environment import empty_environment
from lanai.confinement.kernel import Machine, machine, single_threaded
from lanai.confinement.landlock import ABI_NETWORK, ABI_SCOPES, ABI_TRUNCATE, restrict
from lanai.confinement.memory import forbid_core, forbid_dump, lock_memory
from lanai.confinement.protection import Confinement, Granted, Protection
from lanai.confinement.rules import rules_of
from lanai.confinement.seccomp import assemble, install

__all__ = ["confine", "prepare"]

OWN_FILES_ONLY = 0o077


def confine(confinement: Confinement, *, keep: Iterable[int]) -> Granted:
    """Leave this process what ``confinement`` names, for good.

    ``keep`` are the descriptors that stay; 0, 1 and 2 become /dev/null unless they are in it.
    Called before other threads exist. Again, in the same process or in a fork of it, it only takes
    more away. It never raises for what the kernel does not have.

        1  what this process brought along: environment, descriptors
        2  its memory, which it needs its capabilities to lock
        3  its capabilities, which 4 and 5 must not leave a way back to
        4  Landlock: files, ports, signals
        5  seccomp, last, since it refuses some of the calls above
    """
    if sys.platform != "linux":
        return Granted.of(frozenset())
    alone = single_threaded()
    os.umask(OWN_FILES_ONLY)
    held = {
        *_belongings(confinement, keep),  # 1
        *_memory(),  # 2
        *_privileges(),  # 3
        *_kernel_rules(confinement, alone=alone),  # 4, 5
    }
    return Granted.of(frozenset(held))


def prepare(confinement: Confinement) -> None:
    """Do now what `confine` would: a fork that then confines itself so finds it done."""
    if (here := machine()) is not None:
        _filter(here, confinement)


@cache
def _filter(here: Machine, confinement: Confinement) -> bytes:
    return assemble(here, rules_of(confinement))


def _belongings(confinement: Confinement, keep: Iterable[int]) -> Iterator[Protection]:
    if empty_environment(confinement.environment):
        yield Protection.EMPTY_ENVIRONMENT
    if close_descriptors(keep):
        yield Protection.CLOSED_DESCRIPTORS


def _memory() -> Iterator[Protection]:
    if forbid_dump():
        yield Protection.NO_DUMP
    if forbid_core():
        yield Protection.NO_CORE
    if locked := lock_memory():
        yield locked


def _privileges() -> Iterator[Protection]:
    dropped = drop_capabilities()
    if forbid_new_privileges() and dropped:
        yield Protection.NO_NEW_PRIVILEGES


def _kernel_rules(confinement: Confinement, *, alone: bool) -> Iterator[Protection]:
    """Landlock says nothing of threads that ran before: then it counts for nothing."""
    abi = restrict(confinement) if alone else 0
    if abi >= ABI_TRUNCATE:
        yield Protection.READ_ONLY_VIEW
    if abi >= ABI_SCOPES:
        yield Protection.OWN_SIGNALS
    here = machine()
    if here is None or not install(here, _filter(here, confinement)):
        return
    yield Protection.SYSTEM_CALLS
    if abi >= _abi_for_sockets(confinement):
        yield Protection.NO_NETWORK


def _abi_for_sockets(confinement: Confinement) -> int:
    """What Landlock must know, so that seccomp and it together leave the named sockets only."""
    if confinement.unix_sockets:
        return ABI_SCOPES
    return ABI_NETWORK if confinement.sockets else 0
