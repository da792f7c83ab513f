"""What a confined process must not be able to do: each tried for real, by the process itself.

Without confinement each of them works, which the tests see first. A thing that would end or harm
the process is asked for in a way that the kernel takes up and then finds wanting (a program that
does not exist): refused and reached are then different errors.
"""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lanai.confinement.kernel import Machine, machine, system_call
from lanai.confinement.system_calls import NUMBERS

AF_VSOCK_HOST = (2, 1)
MSG_FASTOPEN = 0x20000000
IPPROTO_MPTCP = 262
PTRACE_SEIZE = 0x4206
CLONE_FS = 0x200
CLONE_NEWUSER = 0x10000000
REACHED = (
    errno.ENOENT,
    errno.ENOKEY,
    errno.EFAULT,
    errno.ENOSYS,
    errno.EAFNOSUPPORT,
    errno.ECONNREFUSED,
)
"""The kernel went to work on it, or has no such thing at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a test put up to be attacked."""

    view: str
    """A folder to read; ``view/seen`` is a file in it."""
    secret: str
    """A file of the same user, outside the view."""
    elsewhere: str
    """A folder of the same user, outside the view."""
    allowed_port: int
    other_port: int
    """Both are listened to, on 127.0.0.1."""
    unix_path: str
    abstract: str
    """A name in the abstract unix namespace, listened to."""
    sibling: int
    """A process of the same user that does not confine itself."""
    address: int
    """Where in the sibling's memory a secret of 16 bytes lies."""


def tried(targets: Targets) -> dict[str, str]:
    """Every attempt's name, and what became of it: ``done``, or the error's name."""
    return {name: _outcome(attempt) for name, attempt in _attempts(targets).items()}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        code = error.errno or 0
        return "done" if code in REACHED else errno.errorcode.get(code, "?")
    return "done"


def _attempts(targets: Targets) -> dict[str, Callable[[], object]]:
    every = {}
    for group in (_files, _network, _others, _programs, _kernel):
        every.update(dict(group(targets)))
    return every


Attempts = Iterator[tuple[str, Callable[[], object]]]


def _files(targets: Targets) -> Attempts:
    view, elsewhere = Path(targets.view), Path(targets.elsewhere)
    seen = view / "seen"
    yield "read a file outside", Path(targets.secret).read_bytes
    yield "list a folder outside", lambda: os.listdir(elsewhere)
    yield "read a password file", Path("/etc/passwd").read_bytes
    yield "write outside", lambda: (elsewhere / "leak").write_bytes(b"x")
    yield "write in view", lambda: (view / "leak").write_bytes(b"x")
    yield "write to shared memory", lambda: _leave(Path(f"/dev/shm/lanai-{os.getpid()}"))
    yield "truncate", lambda: os.truncate(seen, 4)
    yield "link", lambda: os.link(seen, elsewhere / "linked")
    yield "rename", lambda: os.rename(view / "moved", view / "renamed")
    yield "make a folder", lambda: os.mkdir(view / "made")
    yield "make a pipe", lambda: os.mkfifo(view / "pipe")
    yield "mark by mode", lambda: os.chmod(seen, 0o600)
    yield "mark by time", lambda: os.utime(seen, (1, 1))
    yield "mark by attribute", lambda: os.setxattr(seen, "user.leak", b"x")
    yield "remove", lambda: os.unlink(view / "removed")


def _leave(path: Path) -> None:
    path.write_bytes(b"x")
    path.unlink()


def _network(targets: Targets) -> Attempts:
    stream = socket.SOCK_STREAM
    here = "127.0.0.1"
    yield "connect to another port", lambda: _connect(socket.AF_INET, stream, 0, (here, 0), targets)
    yield (
        "connect by mptcp",
        lambda: _connect(socket.AF_INET, stream, IPPROTO_MPTCP, (here, 0), targets),
    )
    yield "connect by fast open", lambda: _fast_open(targets.other_port)
    yield "send a datagram", lambda: _datagram(targets.other_port)
    yield "bind", lambda: _bind(here)
    yield "listen unbound", lambda: _listen()
    yield "connect to a unix path", lambda: _unix(targets.unix_path)
    yield "connect to an abstract name", lambda: _unix(b"\0" + targets.abstract.encode())
    yield "connect to the host", lambda: _make(socket.AF_VSOCK, stream)
    yield "ask the kernel's routes", lambda: _make(socket.AF_NETLINK, socket.SOCK_RAW)
    yield "a pair of datagram ends", lambda: _pair()


def _make(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def _connect(family: int, kind: int, protocol: int, at: tuple[str, int], targets: Targets) -> None:
    with socket.socket(family, kind, protocol) as made:
        made.connect((at[0], targets.other_port))


def _fast_open(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.sendto(b"x", MSG_FASTOPEN, ("127.0.0.1", port))


def _datagram(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", ("127.0.0.1", port))


def _bind(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind((host, 0))


def _listen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.listen()


def _unix(name: str | bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.connect(name)


def _pair() -> None:
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()


def _others(targets: Targets) -> Attempts:
    sibling = targets.sibling
    yield "trace", lambda: call("ptrace", PTRACE_SEIZE, sibling, 0, 0)
    yield "copy its memory", lambda: copy_memory(sibling, targets.address)
    yield "read its memory file", lambda: read_memory(sibling, targets.address)
    yield "read its environment", Path(f"/proc/{sibling}/environ").read_bytes
    yield "signal it", lambda: os.kill(sibling, 0)
    yield "take its descriptors", lambda: _take_descriptor(sibling)


def copy_memory(pid: int, address: int) -> bytes:
    """``process_vm_readv``: 16 bytes of another process' memory."""
    into = ctypes.create_string_buffer(16)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(into), 16)
    remote = (ctypes.c_size_t * 2)(address, 16)
    call(
        *("process_vm_readv", pid),
        *(ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0),
    )
    return into.raw


def read_memory(pid: int, address: int) -> bytes:
    """The same by ``/proc/PID/mem``."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(memory, 16, address)
    finally:
        os.close(memory)


def _take_descriptor(pid: int) -> None:
    process = os.pidfd_open(pid)
    try:
        os.close(call("pidfd_getfd", process, 0, 0))
    finally:
        os.close(process)


def _programs(targets: Targets) -> Attempts:
    yield "execute", lambda: os.execv(f"{targets.view}/no-such-program", ["x"])  # noqa: S606
    yield "fork", _fork
    yield "vfork", lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _kernel(_: Targets) -> Attempts:
    yield "unshare", lambda: call("unshare", CLONE_FS)
    yield "a namespace by clone", _clone_namespace
    yield "memory without a path", lambda: os.close(os.memfd_create("leak"))
    yield "a ring of calls", lambda: call("io_uring_setup", 1, 0)
    yield "shared memory of old", _system_v
    yield "the keyring", lambda: call("keyctl", 0, -2 & 0xFFFFFFFF, 0)
    yield "change the root", lambda: call("chroot", 0)
    yield "a program for the kernel", lambda: call("bpf", 0, 0, 1)


def _clone_namespace() -> None:
    child = call("clone", CLONE_NEWUSER | int(signal.SIGCHLD), 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _system_v() -> None:
    segment = call("shmget", 0, 4096, 0o600)
    call("shmctl", segment, 0, 0)


def call(name: str, *arguments: int) -> int:
    """A system call by its name; an error raises."""
    column = 0 if machine() is Machine.X86_64 else 1
    result = system_call(NUMBERS[name][column] or -1, *arguments)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
