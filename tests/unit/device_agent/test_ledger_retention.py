"""Age by the ledger's own clock: a wall clock that jumps drops no disclosure, and is counted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.ledger import Ledger
from device_agent.retention import DAY, PROBATION, SLACK, WallReading

NOW = WallReading(wall_ns=20_000 * DAY, boot="a", up_ns=5 * DAY)
CENTURY = 36_525 * DAY
WHY = {"reason": "over_device_context", "mode": "auto", "data_class": "personal"}


def later(seen: WallReading, passed: int, *, jump: int = 0, boot: str | None = None) -> WallReading:
    """``passed`` nanoseconds afterwards; the wall clock ``jump`` besides; a boot begins at 0."""
    wall = seen.wall_ns + passed + jump
    if boot is None:
        return replace(seen, wall_ns=wall, up_ns=seen.up_ns + passed)
    return WallReading(wall_ns=wall, boot=boot, up_ns=0)


def disclosed(path: Path, id: str, reading: WallReading, *, keep_days: int | None = 30) -> Ledger:
    """A process of its own: each drops what is old with its first disclosure."""
    ledger = Ledger(path, keep_days=keep_days, clocks=lambda: reading)
    ledger.conclude(ledger.intend(id=id, **WHY), "answered")
    return ledger


def ids(path: Path) -> list[str]:
    return [each.id for each in Ledger(path).disclosures()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.jsonl"


def test_a_jump_drops_no_disclosure_and_old_ones_still_go(path: Path) -> None:
    """Ahead by a century, back, and to 1970: all stand until they are really old."""
    seen = NOW
    for turn, jump in enumerate((0, CENTURY, -CENTURY, -NOW.wall_ns, NOW.wall_ns)):
        seen = later(seen, DAY, jump=jump)
        ledger = disclosed(path, str(turn), seen)
    assert ids(path) == ["0", "1", "2", "3", "4"]
    assert ledger.clock_jumps() == 4
    disclosed(path, "late", later(seen, 28 * DAY))
    assert ids(path) == ["2", "3", "4", "late"]
    assert Ledger(path).read().pruned == 2


def test_a_jump_over_a_reboot_drops_nothing(path: Path) -> None:
    """A century ahead at the next boot; what was in doubt is forgotten when it is set back."""
    disclosed(path, "one", NOW)
    wrong = later(NOW, DAY, jump=CENTURY, boot="b")
    disclosed(path, "two", wrong)
    right = later(wrong, DAY, jump=-CENTURY)
    disclosed(path, "three", right)
    disclosed(path, "four", later(right, 2 * PROBATION))
    assert ids(path) == ["one", "two", "three", "four"]


def test_what_was_disclosed_before_the_clock_is_not_dropped_by_a_jump(path: Path) -> None:
    """A ledger of an older version: the clock begins at its newest entry."""
    disclosed(path, "old", NOW)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line | {"stored": None}) + "\n" for line in lines))
    path.with_suffix(".clock").unlink()
    disclosed(path, "new", later(NOW, DAY, jump=CENTURY, boot="b"))
    assert ids(path) == ["old", "new"]


@pytest.mark.parametrize("damage", ['"x"', "NaN", "-Infinity", "1" * 400, "[" * 100_000, "null"])
def test_a_time_that_is_none_is_a_damaged_line(path: Path, damage: str) -> None:
    """It is counted and stays, and no clock is begun at it."""
    disclosed(path, "one", NOW)
    whole = path.read_text()
    broken = whole.replace(f'"time": {NOW.wall_ns / 10**9}', f'"time": {damage}')
    path.write_text(broken.replace('"one"', '"two"') + whole)
    path.with_suffix(".clock").unlink()
    disclosed(path, "three", later(NOW, DAY))
    assert (ids(path), Ledger(path).read().damaged) == (["one", "three"], 2)


@pytest.mark.parametrize("damage", [b"", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_clock_that_was_lost_costs_no_disclosure(path: Path, damage: bytes) -> None:
    """It is begun anew at the newest entry, whatever stood there."""
    disclosed(path, "one", NOW)
    path.with_suffix(".clock").write_bytes(damage)
    disclosed(path, "two", later(NOW, CENTURY, boot="b"))
    assert ids(path) == ["one", "two"]


def test_the_clock_is_written_down_when_it_tells_more(path: Path) -> None:
    """Not with each disclosure: the boot clock says what passed. It ages them all."""
    file = path.with_suffix(".clock")
    disclosed(path, "one", NOW)
    first = file.read_bytes()
    disclosed(path, "two", later(NOW, SLACK // 2))
    assert file.read_bytes() == first
    disclosed(path, "three", later(NOW, SLACK))
    assert file.read_bytes() != first
    assert file.stat().st_mode & 0o077 == 0
    stored = [each.stored for each in Ledger(path).disclosures()]
    assert [when - stored[0] for when in stored] == [0, 1800, 3600]


def test_reports_show_one_time_of_a_disclosure(path: Path) -> None:
    """What its age is told from is the file's own matter."""
    ledger = disclosed(path, "one", NOW)
    assert "stored" not in ledger.disclosures()[0].to_json_dict(content=True)
