"""The ledger: append-only, durable, honest about what it does not know."""

from pathlib import Path

import pytest

from device_agent.ledger import Ledger
from lanai.errors import LedgerError

WHY = {"reason": "over_device_context", "mode": "auto", "data_class": "personal"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.jsonl", clock=iter(range(100, 200)).__next__)


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
    rows, damaged = ledger.read()
    assert [row.id for row in rows if row.id != "two"] == ["one", "three"]
    assert damaged == (1 if cut > 1 else 0)


def test_lines_are_only_ever_added(ledger) -> None:
    """What was written stays, byte for byte."""
    before = b""
    for number in range(3):
        ledger.conclude(ledger.intend(id=str(number), **WHY), "answered")
        now = ledger.path.read_bytes()
        assert now.startswith(before)
        before = now


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
