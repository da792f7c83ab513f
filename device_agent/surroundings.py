"""The state of the hardware around a request: battery, heat, network.

An app that knows better gives ``AsyncAgent.from_config(surroundings=...)`` an object of its own
with one method. The default on Linux reads ``/sys``; what cannot be read there is not known, and
nothing is ever taken for worse than it says. Reading takes less than a millisecond and is
remembered for some seconds.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from router.circumstances import DeviceState

__all__ = ["FixedSurroundings", "LinuxSurroundings", "Surroundings"]

REMEMBER_S = 5.0
LONGEST = 64
"""Bytes of a file in ``/sys`` that are read; the kernel's values are shorter."""
MOST_ENTRIES = 64
WARM_BEFORE_TRIP = 20_000
"""Millidegrees below the first trip point from which heat is counted."""
TRIPS = frozenset({"passive", "hot", "critical"})
BATTERY, MAINS = "Battery", frozenset({"Mains", "USB", "Wireless"})


class Surroundings(Protocol):
    """Where a device's state comes from."""

    def state(self) -> DeviceState:
        """As it is now. Called for every request, from any thread; must not block."""


class FixedSurroundings:
    """Always the same; by default nothing is known."""

    def __init__(self, state: DeviceState | None = None) -> None:
        self._state = state or DeviceState()

    def state(self) -> DeviceState:
        return self._state


class LinuxSurroundings:
    """Reads ``/sys/class/{power_supply,thermal,net}``. Never raises.

    ``cloud_is_here``: the cluster is on this machine, so that no network is needed to reach it.
    """

    def __init__(
        self,
        root: Path = Path("/sys"),
        *,
        cloud_is_here: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._class = root / "class"
        self._cloud_is_here = cloud_is_here
        self._clock = clock
        self._seen: tuple[float, DeviceState] | None = None

    def state(self) -> DeviceState:
        now, seen = self._clock(), self._seen
        if seen is not None and 0 <= now - seen[0] < REMEMBER_S:
            return seen[1]
        battery, charging = self._power()
        state = DeviceState(
            battery=battery,
            charging=charging,
            heat=self._heat(),
            online=None if self._cloud_is_here else self._online(),
        )
        self._seen = (now, state)
        return state

    def _power(self) -> tuple[float | None, bool | None]:
        """The fullest battery of the system itself, and whether power comes from outside."""
        charges, on_mains, drains = list[float](), False, False
        for supply in self._entries("power_supply"):
            kind = _text(supply / "type")
            if kind in MAINS:
                on_mains |= _number(supply / "online") == 1
            elif kind == BATTERY and _text(supply / "scope") != "Device":  # a mouse has one too
                if (charge := _number(supply / "capacity")) is not None:
                    charges.append(min(max(charge, 0), 100) / 100)
                drains |= _text(supply / "status") == "Discharging"
        if not charges:
            return None, True if on_mains else None
        return max(charges), on_mains or not drains

    def _heat(self) -> float | None:
        """Of the zone that is nearest to its first trip point; zones without one tell nothing."""
        found = [heat for zone in self._entries("thermal") if (heat := _zone(zone)) is not None]
        return max(found, default=None)

    def _online(self) -> bool | None:
        """``False`` where there are interfaces and every one of them is down."""
        states = [_text(each / "operstate") for each in self._entries("net") if each.name != "lo"]
        if any(state in ("up", "unknown") for state in states):
            return True  # tunnels and some drivers never say more than "unknown"
        return False if states and all(states) else None

    def _entries(self, kind: str) -> Iterator[Path]:
        try:
            yield from sorted((self._class / kind).iterdir())[:MOST_ENTRIES]
        except OSError:
            return


def _zone(zone: Path) -> float | None:
    now = _number(zone / "temp")
    trips = [
        limit
        for index in range(8)
        if _text(zone / f"trip_point_{index}_type") in TRIPS
        and (limit := _number(zone / f"trip_point_{index}_temp")) is not None
        and limit > 0
    ]
    if now is None or not trips:
        return None
    return min(max((now - min(trips)) / WARM_BEFORE_TRIP + 1, 0.0), 1.0)


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("ascii", "replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
