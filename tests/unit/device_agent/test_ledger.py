"""The ledger: append-only, durable, honest about what it does not know."""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from device_agent.ledger import Ledger
from device_agent.retention import WallReading
from lanai.errors import LedgerError

WHY = {"reason": "over_device_context", "mode": "auto", "data_class": "personal"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.jsonl", clocks=seconds(range(100, 200)))


def seconds(times: Iterable[int]) -> Callable[[], WallReading]:
    """One boot, whose clock the wall clock follows."""
    return (WallReading(wall_ns=at * 10**9, boot="a", up_ns=at * 10**9) for at in times).__next__


def test_intent_and_outcome_are_one_disclosure(ledger) -> None:
    """Two lines in the file, one row for the reader."""
    disclosure = ledger.intend(id="one", **WHY)
    ledger.conclude(disclosure, "answered", bytes_sent=10, nodes=("aa",), node="aa")
    (row,) = ledger.disclosures()
    assert (row.time, row.ended, row.outcome) == (100, 101, "answered")
    assert (row.bytes_sent, row.nodes, row.node) == (10, ("aa",), "aa")
    assert len(ledger.path.read_bytes().splitlines()) == 2


def test_an_intent_alone_stays_unknown(ledger) -> None:
    """A process that ended in between: nobody claims that nothing was sent."""
    ledger.intend(id="one", **WHY)
    (row,) = ledger.disclosures()
    assert (row.outcome, row.bytes_sent) == (None, None)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_by_power_loss_spoils_no_other(ledger, cut) -> None:
    """The damaged line is counted, the next one starts on its own."""
    ledger.intend(id="one", **WHY)
    ledger.intend(id="two", **WHY)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-cut])
    ledger.intend(id="three", **WHY)
    found = ledger.read()
    assert [row.id for row in found.disclosures if row.id != "two"] == ["one", "three"]
    assert found.damaged == (1 if cut > 1 else 0)


def test_lines_are_only_ever_added(ledger) -> None:
    """What was written stays, byte for byte."""
    before = b""
    for number in range(3):
        ledger.conclude(ledger.intend(id=str(number), **WHY), "answered")
        now = ledger.path.read_bytes()
        assert now.startswith(before)
        before = now


def test_what_is_old_is_dropped_and_counted(ledger) -> None:
    """With its outcome; what is younger stays byte for byte, damaged lines too."""
    old = ledger.intend(id="old", **WHY)
    ledger.conclude(old, "answered")
    ledger.intend(id="young", **WHY)
    young = ledger.path.read_bytes().splitlines()[-1]
    with ledger.path.open("ab") as file:
        file.write(b"{damaged\n")
    assert ledger.prune(before=102) == 1
    assert ledger.prune(before=102) == 0
    found = ledger.read()
    assert ([row.id for row in found.disclosures], found.pruned, found.damaged) == (["young"], 1, 1)
    assert ledger.path.read_bytes().splitlines()[1:] == [young, b"{damaged"]
    assert ledger.path.stat().st_mode & 0o077 == 0
    assert ledger.prune(before=1000) == 1
    assert ledger.read().pruned == 2


def test_a_process_drops_what_is_over_the_age_once_a_day(tmp_path) -> None:
    """With its first disclosure and with the first of each day; not with each."""
    day, path = 24 * 3600, tmp_path / "ledger.jsonl"
    first = Ledger(path, clocks=seconds([0]))
    first.intend(id="one", **WHY)
    # A look that drops something reads the clock once more.
    times = [2 * day, 2 * day, 3 * day - 1, 3 * day, 4 * day - 1, 4 * day, 4 * day]
    later = Ledger(path, keep_days=1, clocks=seconds(times))
    later.intend(id="two", **WHY)
    assert [row.id for row in later.disclosures()] == ["two"]
    later.intend(id="three", **WHY)
    later.intend(id="four", **WHY)
    assert [row.id for row in later.disclosures()] == ["two", "three", "four"]
    later.intend(id="five", **WHY)
    assert [row.id for row in later.disclosures()] == ["two", "three", "four", "five"]
    later.intend(id="six", **WHY)
    assert [row.id for row in later.disclosures()] == ["four", "five", "six"]


def test_an_outcome_that_cannot_be_written_is_counted(ledger, monkeypatch) -> None:
    """The intent stands, so nobody claims that nothing was sent."""
    row = ledger.intend(id="one", **WHY)
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(LedgerError, match="No space"):
        ledger.conclude(row, "answered")
    assert ledger.outcomes_lost == 1


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path) -> None:
    """So that the caller sends nothing."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError) as raised:
        Ledger(tmp_path / "file" / "ledger.jsonl").intend(id="one", **WHY)
    assert raised.value.hint


def test_only_the_user_can_read_it(ledger) -> None:
    """The file is private."""
    ledger.intend(id="one", **WHY)
    assert ledger.path.stat().st_mode & 0o077 == 0
