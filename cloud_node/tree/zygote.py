"""The zygote: warm, single-threaded, without content. It forks a worker for each request.

What it is handed it does not read: the request's socket holds sealed chunks, the pipe the
keyholder's secret. A fork from a process with threads could inherit a lock that nobody will ever
release, so a zygote that has a second thread refuses to fork.
"""

import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

from cloud_node.process import die_with_parent
from cloud_node.tree.confinements import worker_confinement
from cloud_node.tree.doors import Door, close_all
from cloud_node.tree.request_socket import refuse
from cloud_node.tree.summons import Summons
from cloud_node.tree.worker import Room, Worker
from inference.engine import EngineInfo
from inference.link import EngineLink
from lanai.confinement import confine, prepare
from lanai.errors import EnvelopeRejected, RefusalCode

__all__ = ["Birth", "Forking", "Zygote"]

WORKER_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Address space a worker may add to what it was born with."""
WORKER_FILES: Final = 64

Birth = Callable[[Callable[[], None], ExitStack, tuple[int, ...]], None]
"""Runs a request to its end, apart from the caller, with these descriptors and no other; closes
what is held when nobody needs it."""


class Zygote:
    """``birth`` is a ``Forking`` but in tests. ``engine`` and ``info`` come by ``connect``."""

    def __init__(self, room: Room, birth: Birth) -> None:
        self._room = room
        self._birth = birth
        self._engine: Door | None = None
        self._info: EngineInfo | None = None

    def connect(self, engine: Door, info: EngineInfo) -> None:
        """Send new requests to this engine. Those that run go on with the one they have."""
        self.close()
        self._engine, self._info = engine, info

    def close(self) -> None:
        """Send nobody to the engine any more."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """One request: its socket and its secret's pipe. Refused on the socket, never raised."""
        with ExitStack() as held:
            for descriptor in descriptors[1:]:
                held.callback(os.close, descriptor)
            if len(descriptors) != 2:
                close_all(descriptors[:1])
                return
            request = held.enter_context(socket.socket(fileno=descriptors[0]))
            try:
                summons = Summons.parse(message)
                link = self._link(held)
                worker = Worker(self._room, summons, request, link)
                needed = (*descriptors, link.fileno())
                self._birth(lambda: worker.run(descriptors[1]), held, needed)
            except (EnvelopeRejected, OSError):
                refuse(request, RefusalCode.BUSY)

    def _link(self, held: ExitStack) -> EngineLink:
        """A connection to the engine for one worker. Raises ``OSError`` when there is none."""
        if self._engine is None or self._info is None:
            raise ConnectionError
        ours, theirs = socket.socketpair()
        held.enter_context(ours)
        with theirs:
            self._engine.offer(theirs.fileno())
        return EngineLink(ours, self._info)


class Forking:
    """A ``Birth`` by fork. Made before the process is confined: it keeps what it reads open.

    ``strict`` workers refuse to read a request with a protection missing. After ``seconds`` the
    kernel ends a worker, whatever it is at.
    """

    def __init__(self, *, strict: bool, seconds: float) -> None:
        self._strict = strict
        self._seconds = seconds
        self._confinement = worker_confinement()
        prepare(self._confinement)
        self._tasks = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What must stay open here."""
        return self._tasks, self._statm

    def __call__(self, work: Callable[[], None], held: ExitStack, needed: tuple[int, ...]) -> None:
        """The child works and ends, whatever happens, without running anything of the parent's.

        Raises ``OSError`` when there is no room for a process, or a second thread runs here.
        """
        if len(os.listdir(self._tasks)) != 1:
            raise ConnectionError("a zygote has one thread")
        parent, pages = os.getpid(), int(os.pread(self._statm, 32, 0).split()[0])
        if os.fork():
            return
        # No exit handlers, no flush of what the parent buffered: the memory goes as it is.
        with suppress(BaseException):
            die_with_parent(parent)
            _limit(born_with=pages * resource.getpagesize(), seconds=self._seconds)
            # Other requests' sockets, and the doors of the zygote, are none of a worker's.
            granted = confine(self._confinement, keep=needed)
            if not (granted.missing and self._strict):
                work()
        os._exit(0)


def _limit(*, born_with: int, seconds: float) -> None:
    """Bounds of one request, beside the deadline that it keeps by itself."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    for kind, limit in (
        (resource.RLIMIT_AS, born_with + WORKER_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, WORKER_FILES),
    ):
        resource.setrlimit(kind, (limit, limit))
