"""Age by the store's own clock: a wall clock that jumps drops no trace, and is counted."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.retention import (
    DAY,
    PROBATION,
    ReckonedClock,
    WallReading,
    read_clocks,
)
from device_agent.trace_schema import FIRST, SCHEMA_VERSION
from device_agent.traces import TraceStore
from device_agent.tracing import Tracing

NOW = WallReading(wall_ns=20_000 * DAY, boot="a", up_ns=5 * DAY)
CENTURY = 36_525 * DAY


def later(seen: WallReading, passed: int, *, jump: int = 0, boot: str | None = None) -> WallReading:
    """``passed`` nanoseconds afterwards; the wall clock ``jump`` besides; a boot begins at 0."""
    wall = seen.wall_ns + passed + jump
    if boot is None:
        return replace(seen, wall_ns=wall, up_ns=seen.up_ns + passed)
    return WallReading(wall_ns=wall, boot=boot, up_ns=0)


def walked(*readings: WallReading) -> ReckonedClock:
    clock = ReckonedClock.begun(None, NOW)
    for reading in readings:
        clock = clock.after(reading)
    return clock


@pytest.mark.parametrize("jump", [CENTURY, -CENTURY, 2 * DAY, -2 * DAY])
def test_within_a_boot_no_jump_moves_the_age(jump: int) -> None:
    """What passed is told by the boot clock; the jump, and that it was undone, are counted."""
    there = later(NOW, DAY, jump=jump)
    assert (walked(there).now_ns, walked(there).jumps) == (NOW.wall_ns + DAY, 1)
    back = later(there, DAY, jump=-jump)
    assert (walked(there, back).now_ns, walked(there, back).jumps) == (NOW.wall_ns + 2 * DAY, 2)
    assert not walked(there, back).doubts


def test_sleep_and_slow_drift_are_no_jumps() -> None:
    """The boot clock goes on through sleep; a correction of minutes is none."""
    slept = later(NOW, 40 * DAY, jump=DAY // 100)
    assert (walked(slept).now_ns, walked(slept).jumps) == (NOW.wall_ns + 40 * DAY, 0)


def test_off_over_night_counts_whole() -> None:
    """A device that is switched off every night ages its traces by the wall clock."""
    seen, clock = NOW, ReckonedClock.begun(None, NOW)
    for night in range(30):
        seen = later(seen, DAY, boot=f"boot {night}")
        clock = clock.after(seen)
    assert (clock.now_ns, clock.doubts, clock.jumps) == (NOW.wall_ns + 30 * DAY, (), 0)


def test_a_long_pause_counts_after_its_probation() -> None:
    """Of two months switched off a day counts at once, and the rest some days later."""
    on = later(NOW, 60 * DAY, boot="b")
    assert walked(on).now_ns == NOW.wall_ns + DAY
    almost, then = later(on, PROBATION - 1), later(on, PROBATION)
    assert walked(on, almost).now_ns == NOW.wall_ns + DAY + PROBATION - 1
    assert walked(on, then).now_ns == NOW.wall_ns + 60 * DAY + PROBATION
    assert walked(on, then).jumps == 0


def test_a_jump_over_a_reboot_is_forgotten_when_the_clock_is_set_back() -> None:
    """It was no pause: nothing of it ever counts, and it is counted as a jump."""
    wrong = later(NOW, DAY, jump=CENTURY, boot="b")
    right = later(wrong, DAY, jump=-CENTURY)
    clock = walked(wrong, right, later(right, 2 * PROBATION))
    assert (clock.now_ns, clock.jumps) == (NOW.wall_ns + 2 * DAY + 2 * PROBATION, 1)


def test_a_battery_that_is_always_flat_ages_nothing() -> None:
    """Every boot begins in 1970 and is set right a minute later: ages are those lived through."""
    seen, clock, minute = NOW, ReckonedClock.begun(None, NOW), DAY // 1440
    for day in range(20):
        seen = WallReading(wall_ns=0, boot=f"boot {day}", up_ns=0)
        clock = clock.after(seen)
        seen = later(seen, minute, jump=NOW.wall_ns + day * DAY)
        clock = clock.after(seen)
    assert (clock.now_ns, clock.jumps) == (NOW.wall_ns + 20 * minute, 40)


def test_the_state_survives_and_a_damaged_one_is_begun_anew() -> None:
    """Whatever stands there."""
    clock = walked(later(NOW, 60 * DAY, boot="b"))
    assert ReckonedClock.from_json(clock.to_json()) == clock
    for text in ("", "null", "[]", '{"now_ns": 1}', clock.to_json().replace("[[", '[["x", ')):
        assert ReckonedClock.from_json(text) is None


def test_the_clocks_of_this_machine_go_on() -> None:
    """One boot, and neither clock stands still or leaves the other."""
    first, second = read_clocks(), read_clocks()
    assert first.boot == second.boot
    assert walked(later(NOW, second.up_ns - first.up_ns)).jumps == 0
    assert second.up_ns >= first.up_ns > 0


async def _asked(store: TraceStore, reading: WallReading) -> None:
    await Tracing(store, environ={}, keep_days=30, clocks=lambda: reading).request().finish()


async def test_a_jump_drops_no_trace_and_old_ones_still_go(tmp_path: Path) -> None:
    """Ahead by a century, back, and to 1970: all are held, in the order in which they were asked,
    until they are really old; `lanai doctor` says that the clock jumped."""
    store = TraceStore.open(tmp_path / "state" / "traces.sqlite")
    seen = NOW
    for jump in (0, CENTURY, -CENTURY, -NOW.wall_ns, NOW.wall_ns):
        seen = later(seen, DAY, jump=jump)
        await _asked(store, seen)
    assert len(store.traces()) == 5
    assert store.sound() == (True, "5 traces, the clock jumped (times: 4)")
    await _asked(store, later(seen, 28 * DAY))
    assert len(store.traces()) == 4
    store.close()


async def test_another_process_goes_on_with_the_same_clock(tmp_path: Path) -> None:
    """A jump between two runs drops nothing either, and what is new is not taken for old."""
    path = tmp_path / "state" / "traces.sqlite"
    for reading in (NOW, later(NOW, DAY, jump=CENTURY, boot="b"), later(NOW, DAY, boot="c")):
        store = TraceStore.open(path)
        await _asked(store, reading)
        store.close()
    store = TraceStore.open(path)
    assert store.sound() == (True, "3 traces, the clock jumped (times: 1)")
    store.close()


async def test_a_store_of_the_first_version_keeps_its_traces(tmp_path: Path) -> None:
    """Their age is that of their start; one of a wrong clock does not move the others'."""
    path = tmp_path / "traces.sqlite"
    with sqlite3.connect(path) as old:
        for statement in FIRST:
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        for name, wall in (("young", NOW.wall_ns - DAY), ("wrong", NOW.wall_ns + CENTURY)):
            row = (name, wall, 1, 0, None, None)
            old.execute("INSERT INTO traces VALUES (?, ?, ?, ?, ?, ?)", row)
    old.close()
    store = TraceStore.open(path)
    await _asked(store, NOW)
    assert {"young", "wrong"} < {record.trace_id for record in store.traces()}
    store.close()
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    now.close()
