"""A ``ReckonedClock`` in a file of its own, beside a file whose entries it ages.

A file that is lost, cut or damaged costs no entry: the clock is begun anew at the newest one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from device_agent.durable_lines import replace_file
from device_agent.retention import SLACK, ReckonedClock, WallReading

__all__ = ["ClockFile"]

MOST_BYTES: Final = 1 << 16


class ClockFile:
    """Not for two processes at once: whoever asks it holds the lock of the file it is about."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def gone_on(self, reading: WallReading, newest: Callable[[], int | None]) -> int:
        """Nanoseconds by this clock at ``reading``; ``newest`` is asked where nothing is written.

        Raises ``OSError``. Written down when the moment tells more than what stands there: within
        a boot the boot clock says what has passed, so once in ``SLACK`` is enough.
        """
        before = self._read()
        clock = ReckonedClock.resumed(before, newest, reading)
        if before is None or not _tells(before, clock):
            replace_file(self._path, clock.to_json().encode())
        return clock.now_ns

    def jumps(self) -> int:
        """How often the wall clock jumped. Raises ``OSError``."""
        clock = self._read()
        return 0 if clock is None else clock.jumps

    def _read(self) -> ReckonedClock | None:
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_BYTES)
        except FileNotFoundError:
            return None
        return ReckonedClock.from_json(text.decode(errors="replace"))


def _tells(before: ReckonedClock, now: ReckonedClock) -> bool:
    """Does what was written down before say the same, but for what the boot clock adds?"""
    same_boot = before.seen.boot == now.seen.boot and before.jumps == now.jumps
    fresh = before.doubts == now.doubts and now.now_ns - before.now_ns < SLACK
    return same_boot and fresh
