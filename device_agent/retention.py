"""How old a stored trace or disclosure is, by a clock that no jump of the wall clock moves.

A wall clock jumps: its battery was flat, somebody set it, a time server answered. Age by it would
drop every one at once. So their store reckons a time of its own, which only ever goes on:

    1. Since the last look of this boot: what the boot clock says has passed, sleep included.
    2. Since a look of an earlier boot: what the wall clock says, at most ``DAY``. The rest is in
       doubt: the device was switched off, or the clock jumped.
    3. What is in doubt counts once the store has lived for ``PROBATION`` without the wall clock
       being set back; then the device was off.

A wall clock that moves otherwise than the boot clock, or back, by more than ``SLACK`` has jumped,
which is counted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

__all__ = ["DAY", "PROBATION", "SLACK", "ReckonedClock", "WallReading", "read_clocks"]

HOUR: Final = 3600 * 10**9
DAY: Final = 24 * HOUR
SLACK: Final = HOUR
PROBATION: Final = 3 * DAY
MOST_DOUBTS: Final = 64
LONGEST_GAP: Final = 366 * DAY
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class WallReading:
    """Both clocks at one moment, in nanoseconds."""

    wall_ns: int
    """Since 1970."""
    boot: str
    """Names the boot whose clock ``up_ns`` is; unlike any other where the system tells none."""
    up_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReckonedClock:
    """The store's own time after one look, and what it was read from."""

    now_ns: int
    seen: WallReading
    doubts: tuple[tuple[int, int], ...] = ()
    """Gaps not counted yet: (when found, by this clock; nanoseconds)."""
    jumps: int = 0

    @classmethod
    def begun(cls, newest_ns: int | None, reading: WallReading) -> "ReckonedClock":
        """Where the newest entry is all that is known; ``None``: there is none."""
        if newest_ns is None:
            return cls(now_ns=reading.wall_ns, seen=reading)
        return cls(now_ns=newest_ns, seen=WallReading(wall_ns=newest_ns, boot="", up_ns=0))

    @classmethod
    def resumed(
        cls,
        written: "ReckonedClock | None",
        newest: Callable[[], int | None],
        reading: WallReading,
    ) -> "ReckonedClock":
        """At ``reading``, from what was written down; else begun at the newest entry."""
        return (written or cls.begun(newest(), reading)).after(reading)

    def after(self, reading: WallReading) -> "ReckonedClock":
        """At a later look."""
        by_wall = reading.wall_ns - self.seen.wall_ns
        if reading.boot == self.seen.boot:
            passed = max(reading.up_ns - self.seen.up_ns, 0)
            ahead, back = by_wall - passed > SLACK, passed - by_wall > SLACK
            gap = 0
        else:
            passed = min(max(by_wall, 0), DAY)
            ahead, back = False, by_wall < -SLACK
            gap = min(max(by_wall - DAY, 0), LONGEST_GAP)
        return (
            replace(
                self,
                now_ns=self.now_ns + passed,
                seen=reading,
                doubts=() if back else self.doubts,
                jumps=self.jumps + (ahead or back),
            )
            ._doubting(gap)
            ._believing()
        )

    def _doubting(self, gap: int) -> "ReckonedClock":
        if not gap:
            return self
        return replace(self, doubts=(*self.doubts[1 - MOST_DOUBTS :], (self.now_ns, gap)))

    def _believing(self) -> "ReckonedClock":
        old = [gap for found, gap in self.doubts if self.now_ns - found >= PROBATION]
        return replace(self, now_ns=self.now_ns + sum(old), doubts=self.doubts[len(old) :])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ReckonedClock | None":
        """``None`` for anything but what ``to_json`` wrote."""
        try:
            read = json.loads(text)
            seen = read["seen"]
            return cls(
                now_ns=int(read["now_ns"]),
                seen=WallReading(
                    wall_ns=int(seen["wall_ns"]), boot=str(seen["boot"]), up_ns=int(seen["up_ns"])
                ),
                doubts=tuple((int(found), int(gap)) for found, gap in read["doubts"]),
                jumps=int(read["jumps"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def read_clocks() -> WallReading:
    """Of this machine, now."""
    return WallReading(wall_ns=time.time_ns(), boot=_boot(), up_ns=_up_ns())


_OWN_BOOT: Final = uuid4().hex


def _boot() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return _OWN_BOOT


def _up_ns() -> int:
    """``CLOCK_BOOTTIME`` goes on while the machine sleeps; elsewhere as near as there is."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)
