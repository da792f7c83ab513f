"""Finds and ends the processes of one Ray: those of the session it was started in, no others."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["RayProcesses"]

PROC: Final = Path("/proc")
SESSION_FIELD: Final = 3  # of /proc/PID/stat, counted after the name's closing bracket
GRACE_S: Final = 1.5
POLL_S: Final = 0.05
DAEMONS: Final = ("gcs_server", "raylet")
UNNEEDED: Final = ("ray.util.client.server", "ray/dashboard/dashboard.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayProcesses:
    """``session`` is the id of the process session; ``temp`` Ray's folder in it.

    Session ids can be used again after a reboot, so a process also has to look like Ray's.
    """

    session: int
    temp: str

    def daemons_alive(self) -> bool:
        """Whether both ``gcs_server`` and ``raylet`` run."""
        programs = {Path(line.split("\0", 1)[0]).name for _, line in self._found()}
        return programs.issuperset(DAEMONS)

    def pids(self) -> Sequence[int]:
        """All that run."""
        return [pid for pid, _ in self._found()]

    def end_unneeded(self) -> None:
        """End what `ray start` starts whether asked or not: a port less, 200 MB less."""
        for pid, line in self._found():
            if any(name in line for name in UNNEEDED):
                _signal(pid, signal.SIGKILL)

    async def end(self) -> None:
        """SIGTERM to all, SIGKILL to what is left after the grace; returns when all are gone."""
        deadline = time.monotonic() + GRACE_S
        number = signal.SIGTERM
        told: set[int] = set()
        while pids := {pid for pid, _ in self._found()}:
            if time.monotonic() > deadline:
                number, told = signal.SIGKILL, set()
            for pid in pids - told:
                _signal(pid, number)
            told |= pids
            await asyncio.sleep(POLL_S)

    def _found(self) -> Iterator[tuple[int, str]]:
        for entry in PROC.iterdir():
            if entry.name.isdecimal() and (line := self._command_of_ours(entry)):
                yield int(entry.name), line

    def _command_of_ours(self, entry: Path) -> str | None:
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            fields = stat.rpartition(")")[2].split()
            if int(fields[SESSION_FIELD]) != self.session or fields[0] == "Z":
                return None
            line = (entry / "cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended meanwhile
            return None
        is_ray = self.temp in line or line.startswith("ray::") or "/ray/" in line or "ray." in line
        return line if is_ray else None


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
