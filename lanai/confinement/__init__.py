"""What a process may still do once it has confined itself, and what the kernel granted of it.

A piece of a node names everything it goes on needing in a `Confinement` and calls `confine` as the
first thing in its main: before gRPC, torch or any thread exists, since Landlock binds only the
calling thread and what that starts. From then on the process, and whatever it forks, can give
nothing up to others and take nothing back, whoever controls its code:

| protection         | by                           | held from                              |
|--------------------|------------------------------|----------------------------------------|
| no_dump            | PR_SET_DUMPABLE              | always; execve would undo it           |
| no_core            | RLIMIT_CORE                  | always                                 |
| locked_memory      | mlockall                     | a memory limit that can be lifted      |
| no_swap            | /proc/swaps                  | instead, where the host has no swap    |
| no_new_privileges  | no_new_privs, capset         | always                                 |
| read_only_view     | Landlock                     | Linux 6.2, ABI 3 (*)                   |
| no_network         | seccomp                      | where no socket stays: x86_64, aarch64 |
|                    | seccomp, Landlock            | with TCP: Linux 6.7, ABI 4 (*)         |
|                    | seccomp, Landlock            | with unix sockets: 6.12, ABI 6 (*)     |
| own_signals        | Landlock                     | Linux 6.12, ABI 6 (*)                  |
| system_calls       | seccomp                      | x86_64, aarch64                        |
| empty_environment  | environ, overwritten         | always                                 |
| closed_descriptors | close_range                  | Linux 5.9                              |

(*) If no other thread ran when `confine` was called: Landlock would not bind it.

It trusts the kernel and the code that has run in this process before. It refuses nothing itself:
what the kernel does not have is in `Granted.missing`, and the caller decides. A protection is held
only when the kernel was asked again and said so, or when its call returned without an error.

What stays open with everything held: the kernel, its modules and a process with CAP_SYS_PTRACE
read this memory; a path's existence and size can be seen (Landlock does not hide names); unix
sockets and datagrams, where they stay, are not told apart by address.
"""

from lanai.confinement.capabilities import drop_capabilities
from lanai.confinement.confining import confine, prepare
from lanai.confinement.memory import SWAPS, forbid_core, forbid_dump, lock_memory
from lanai.confinement.protection import Confinement, Granted, Protection
from lanai.confinement.view import hardware_view, interpreter_view

__all__ = [
    "SWAPS",
    "Confinement",
    "Granted",
    "Protection",
    "confine",
    "drop_capabilities",
    "forbid_core",
    "forbid_dump",
    "hardware_view",
    "interpreter_view",
    "lock_memory",
    "prepare",
]
