"""The system call filter, run by an interpreter of our own on both machines."""

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from lanai.confinement.kernel import Machine
from lanai.confinement.protection import Confinement
from lanai.confinement.rules import ALWAYS, CLONE_THREAD, rules_of
from lanai.confinement.seccomp import assemble
from lanai.confinement.system_calls import NUMBERS

Ask = Callable[..., Any]

NOTHING = Confinement()
EVERYTHING = Confinement(
    sockets=True, tcp_bind=True, unix_sockets=True, datagrams=True, fork=True, execute=True
)
FORK_FLAGS = 0x01200011  # CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, as glibc forks
THREAD_FLAGS = 0x003D0F00  # as glibc starts a thread
NEW_USER = 0x10000000
FAST_OPEN = 0x20000000
MPTCP = 262


def test_what_is_refused_always_is_refused_on_both_machines(ask: Ask, here: Machine) -> None:
    """However much stays allowed, no call of the groups passes that the machine has."""
    for group in ALWAYS:
        for name, numbers in group.items():
            if numbers[here is Machine.AARCH64] is not None:
                assert ask(EVERYTHING, name).name == "EPERM", name


def test_ordinary_calls_pass(ask: Ask, here: Machine) -> None:
    """read, write, mmap and exit_group are on no list, even where nothing is allowed."""
    ordinary = (0, 1, 9, 231) if here is Machine.X86_64 else (63, 64, 222, 94)
    assert {ask(NOTHING, number).name for number in ordinary} == {"ALLOW"}


@pytest.mark.parametrize("arch", [0x40000003, 0x40000028, 0xC00000F3])
def test_another_machines_numbers_end_the_process(ask: Ask, arch: int) -> None:
    """i386, 32-bit ARM and RISC-V calls are killed, whatever their number."""
    assert ask(EVERYTHING, 0, arch=arch).name == "KILL"


def test_the_second_set_of_numbers_of_x86_ends_the_process(ask: Ask, here: Machine) -> None:
    """An x32 number is killed where the machine has such numbers."""
    verdict = ask(EVERYTHING, 0x40000000 | 59)
    assert verdict.name == ("KILL" if here is Machine.X86_64 else "ALLOW")


def test_no_number_stands_twice() -> None:
    """Each table's numbers are distinct on each machine: a slip would refuse the wrong call."""
    for column in (0, 1):
        numbers = [pair[column] for pair in NUMBERS.values() if pair[column] is not None]
        assert len(numbers) == len(set(numbers))


def test_late_calls_have_one_number_everywhere() -> None:
    """From 424 on machines count alike (Linux 5.1), so a differing pair is a slip."""
    late = [pair for pair in NUMBERS.values() if max(number or 0 for number in pair) >= 424]
    assert late
    assert all(x86 == arm for x86, arm in late)


@pytest.mark.parametrize(
    ("confinement", "thread", "process"),
    [
        (Confinement(), "ALLOW", "EPERM"),
        (Confinement(threads=False), "EPERM", "EPERM"),
        (Confinement(threads=False, fork=True), "EPERM", "ALLOW"),
        (Confinement(fork=True), "ALLOW", "ALLOW"),
    ],
)
def test_threads_and_processes_are_told_apart(
    ask: Ask, confinement: Confinement, thread: str, process: str
) -> None:
    """The flags of one clone decide, and the two are allowed one by one."""
    assert ask(confinement, "clone", THREAD_FLAGS).name == thread
    assert ask(confinement, "clone", FORK_FLAGS).name == process


def test_clone_makes_no_namespace(ask: Ask) -> None:
    """What unshare is refused, clone is refused too, beside a thread's flags as well."""
    assert ask(EVERYTHING, "clone", FORK_FLAGS | NEW_USER).name == "EPERM"
    assert ask(EVERYTHING, "clone", CLONE_THREAD | NEW_USER).name == "EPERM"


def test_clone_with_flags_in_memory_does_not_exist(ask: Ask) -> None:
    """clone3 answers as an old kernel does, on which the C library takes clone."""
    assert ask(EVERYTHING, "clone3").name == "ENOSYS"


def test_the_high_half_of_an_argument_changes_nothing(ask: Ask) -> None:
    """The kernel reads 32 bits of these arguments, and so does the filter."""
    assert ask(Confinement(), "clone", 1 << 32 | FORK_FLAGS).name == "EPERM"


def test_without_execute_no_program_starts(ask: Ask) -> None:
    """Both ways to execute are refused, unless they were allowed."""
    for name in ("execve", "execveat"):
        assert ask(NOTHING, name).name == "EPERM"
        assert ask(EVERYTHING, name).name == "ALLOW"


def test_without_sockets_none_is_made_or_used_to_reach_out(ask: Ask) -> None:
    """No socket is made, connected, bound or listened on."""
    for name in ("socket", "connect", "bind", "listen", "accept", "accept4"):
        assert ask(NOTHING, name).name == "EPERM", name


def test_only_tcp_sockets_are_made(ask: Ask) -> None:
    """UDP, raw, unix, netlink, vsock, MPTCP, SCTP: each refused where TCP alone is allowed."""
    tcp = Confinement(sockets=True)
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    for family in (socket.AF_INET, socket.AF_INET6):
        assert ask(tcp, "socket", family, socket.SOCK_STREAM | flags, 0).name == "ALLOW"
        assert ask(tcp, "socket", family, socket.SOCK_STREAM, 6).name == "ALLOW"
        for kind, protocol in ((2, 0), (3, 1), (1, MPTCP), (5, 132), (1, 256)):
            assert ask(tcp, "socket", family, kind, protocol).name == "EPERM"
    for family in (socket.AF_UNIX, socket.AF_NETLINK, socket.AF_VSOCK, socket.AF_ALG, 43, 44):
        assert ask(tcp, "socket", family, socket.SOCK_STREAM, 0).name == "EPERM"


def test_unix_sockets_and_datagrams_are_asked_for_by_name(ask: Ask) -> None:
    """Each widens by its own kind and by no other."""
    unix = Confinement(sockets=True, unix_sockets=True)
    datagrams = Confinement(sockets=True, datagrams=True)
    assert ask(unix, "socket", socket.AF_UNIX, socket.SOCK_STREAM, 0).name == "ALLOW"
    assert ask(unix, "socket", socket.AF_INET, socket.SOCK_DGRAM, 0).name == "EPERM"
    assert ask(datagrams, "socket", socket.AF_INET, socket.SOCK_DGRAM, 17).name == "ALLOW"
    assert ask(datagrams, "socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0).name == "EPERM"


def test_sending_opens_no_connection(ask: Ask) -> None:
    """TCP Fast Open, which Landlock does not see, is refused; sending is not."""
    tcp = Confinement(sockets=True)
    for name, position in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        flags = [0] * 4
        assert ask(tcp, name, *flags).name == "ALLOW"
        flags[position] = FAST_OPEN | socket.MSG_NOSIGNAL
        assert ask(tcp, name, *flags).name == "EPERM"


def test_pairs_of_sockets_lead_nowhere(ask: Ask) -> None:
    """Streams and packets between two ends; a datagram end could send to any unix address."""
    unix, flags = socket.AF_UNIX, socket.SOCK_CLOEXEC
    assert ask(NOTHING, "socketpair", unix, socket.SOCK_STREAM | flags).name == "ALLOW"
    assert ask(NOTHING, "socketpair", unix, socket.SOCK_SEQPACKET).name == "ALLOW"
    assert ask(NOTHING, "socketpair", unix, socket.SOCK_DGRAM).name == "EPERM"
    assert ask(NOTHING, "socketpair", unix, socket.SOCK_RAW).name == "EPERM"
    assert ask(NOTHING, "socketpair", 30, socket.SOCK_STREAM).name == "EPERM"


def test_listening_is_allowed_apart_from_connecting(ask: Ask) -> None:
    """A client's sockets do not listen, not even on a port that the kernel would choose."""
    client = Confinement(sockets=True)
    server = Confinement(sockets=True, tcp_bind=True)
    for name in ("bind", "listen", "accept", "accept4"):
        assert ask(client, name).name == "EPERM"
        assert ask(server, name).name == "ALLOW"


@pytest.mark.parametrize("confinement", [NOTHING, EVERYTHING])
def test_the_program_is_one_the_kernel_takes(here: Machine, confinement: Confinement) -> None:
    """Below 4,096 instructions, jumps forward and inside, a return at the end (bpf(4))."""
    steps = list(struct.iter_unpack("=HBBI", assemble(here, rules_of(confinement))))
    assert len(steps) < 4096
    assert steps[-1][0] == 0x06
    assert all(at + 1 + max(step[1], step[2]) < len(steps) for at, step in enumerate(steps[:-1]))
