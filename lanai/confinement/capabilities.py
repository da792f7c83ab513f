"""Dropping every capability, for good (capabilities(7))."""

import ctypes
import struct
import sys
from typing import Final

from lanai.confinement.kernel import Machine, machine, prctl, system_call

__all__ = ["drop_capabilities", "forbid_new_privileges"]

PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
HEADER: Final = struct.pack("=Ii", 0x20080522, 0)
"""Version 3 of <linux/capability.h>, of the calling thread."""
NONE: Final = bytes(24)
"""Effective, permitted and inheritable sets, two words of 32 bits each."""

CAPSET: Final = {Machine.X86_64: 126, Machine.AARCH64: 91}
CAPGET: Final = {Machine.X86_64: 125, Machine.AARCH64: 90}
LAST: Final = 64
"""The kernel's sets have 64 bits."""


def drop_capabilities() -> bool:
    """Empty the calling thread's sets; True when the kernel says that they are.

    A user id of 0 without capabilities is a user like any other. The bounding set needs
    CAP_SETPCAP to be emptied; without that, no_new_privs alone keeps new ones out.
    """
    here = machine()
    if here is None:
        return False
    if _are_empty(here):
        return True
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(LAST):
        if prctl(PR_CAPBSET_READ, capability) < 0:  # past the kernel's last
            break
        prctl(PR_CAPBSET_DROP, capability)
    system_call(CAPSET[here], HEADER, NONE)
    return _are_empty(here)


def _are_empty(here: Machine) -> bool:
    seen = ctypes.create_string_buffer(b"\xff" * len(NONE), len(NONE))
    done = system_call(CAPGET[here], HEADER, ctypes.addressof(seen))
    return done == 0 and seen.raw == NONE


def forbid_new_privileges() -> bool:
    """No execve gives a privilege: no setuid, no file capabilities (PR_SET_NO_NEW_PRIVS)."""
    if sys.platform != "linux":
        return False
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    return prctl(PR_GET_NO_NEW_PRIVS) == 1
