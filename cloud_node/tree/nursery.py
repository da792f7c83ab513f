"""Workers by fork, ready before their request comes.

A fork from a process with threads could inherit a lock that nobody will ever release, so a second
thread in the zygote is an error. A spare worker holds nothing but code and the text model.
"""

import os
import resource
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cloud_node.process import die_with_parent
from cloud_node.tree.confinements import worker_confinement
from cloud_node.tree.doors import Door, Message
from cloud_node.tree.worker import Room, work
from lanai.confinement import confine, prepare

__all__ = ["ForkingNursery"]

SPARES: Final = 2
"""Workers that wait. They are replaced in a quiet moment: a fork and its rehearsal take 20 ms of a
processor, which requests can use. A crowd's workers are forked for them, without rehearsal."""
WORKER_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Address space a worker may add to what it was born with."""
WORKER_FILES: Final = 64


class ForkingNursery:
    """Made before the process is confined: it keeps what it reads open.

    A worker runs ``rehearsal`` before it is confined. ``strict`` workers take no request with a
    protection missing. ``seconds`` after its request came the kernel ends a worker, whatever it
    is at.
    """

    def __init__(
        self, room: Room, *, rehearsal: Callable[[Room], object], strict: bool, seconds: float
    ) -> None:
        self._room = room
        self._rehearse = rehearsal
        self._strict = strict
        self._seconds = seconds
        self._confinement = worker_confinement()
        prepare(self._confinement)
        self._tasks = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._spares: deque[Door] = deque()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What must stay open here."""
        return self._tasks, self._statm

    @property
    def full(self) -> bool:
        """See ``Nursery``."""
        return len(self._spares) == SPARES

    def fill(self) -> None:
        """See ``Nursery``."""
        while len(self._spares) < SPARES:
            self._spares.append(self._fork(rehearsing=True))

    def send_out(self, message: Message, descriptors: Sequence[int]) -> None:
        """See ``Nursery``. A spare that died waiting is passed over."""
        while self._spares:
            if _handed(self._spares.popleft(), message, descriptors):
                break
        else:
            if not _handed(self._fork(rehearsing=False), message, descriptors):
                raise ConnectionError

    def close(self) -> None:
        while self._spares:
            self._spares.popleft().close()

    def _fork(self, *, rehearsing: bool) -> Door:
        """A new worker's door. Raises ``OSError``: no room, or a second thread runs here."""
        if len(os.listdir(self._tasks)) != 1:
            raise ConnectionError("a zygote has one thread")
        parent, pages = os.getpid(), int(os.pread(self._statm, 32, 0).split()[0])
        ours, theirs = Door.pair()
        if os.fork():
            theirs.close()
            return ours
        # No exit handlers, no flush of what the parent buffered: the memory goes as it is.
        with suppress(BaseException):
            die_with_parent(parent)
            ours.close()
            self.close()
            if rehearsing:
                self._rehearse(self._room)
            _limit(born_with=pages * resource.getpagesize())
            # Other workers' doors and those of the zygote are none of a worker's.
            granted = confine(self._confinement, keep=[theirs.fileno()])
            if not (granted.missing and self._strict):
                self._serve(theirs)
        os._exit(0)

    def _serve(self, door: Door) -> None:
        message, descriptors = door.receive()
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        door.close()
        work(self._room, message, descriptors)


def _handed(door: Door, message: Message, descriptors: Sequence[int]) -> bool:
    try:
        door.send(message, descriptors)
    except OSError:
        return False
    finally:
        door.close()
    return True


def _limit(*, born_with: int) -> None:
    """Bounds of one request, beside the deadline that it keeps by itself."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for kind, limit in (
        (resource.RLIMIT_AS, born_with + WORKER_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, WORKER_FILES),
    ):
        resource.setrlimit(kind, (limit, limit))
