"""The ledger under kill -9 and on a full disk, in processes of their own."""

import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_agent.ledger import Ledger

WRITER = """
import itertools, pathlib, sys
from device_agent.ledger import Ledger
from device_agent.retention import WallReading
moments = (at * 10**9 for at in itertools.count(int(sys.argv[2])))
clocks = (WallReading(wall_ns=at, boot="a", up_ns=at) for at in moments).__next__
ledger = Ledger(pathlib.Path(sys.argv[1]), clocks=clocks)
for number in itertools.count():
    id = f"{sys.argv[2]}-{number}"
    row = ledger.intend(id=id, reason="r", mode="auto", data_class="public")
    print(id, "intent", flush=True)
    ledger.conclude(row, "answered", bytes_sent=number)
    print(id, "answered", flush=True)
    if sys.argv[3] == "prune" and number % 5 == 4:
        print("pruned", ledger.prune(before=row.stored), flush=True)
"""

FULL = """
import pathlib, resource, signal, sys
from device_agent.ledger import Ledger
from lanai.errors import LedgerError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
ledger = Ledger(pathlib.Path(sys.argv[1]))
try:
    for number in range(100):
        ledger.intend(id=str(number), reason="r", mode="auto", data_class="public")
        print(number, flush=True)
except LedgerError as error:
    print("full:", error.message)
"""


@contextmanager
def writing(path: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WRITER, str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def killed(writer: "subprocess.Popen[str]", after: int) -> list[str]:
    """Kill it once it has reported that many lines; return all it reported."""
    assert writer.stdout is not None
    reported = [writer.stdout.readline() for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    return [line.strip() for line in (*reported, *writer.stdout) if line.endswith("\n")]


@pytest.mark.parametrize("seed", range(3))
def test_kill_minus_nine_leaves_all_that_was_reported(tmp_path, seed) -> None:
    """Killed at a moment of chance, several times on one file, two writers at once."""
    path, chance = tmp_path / "ledger.jsonl", random.Random(seed)
    reported: list[str] = []
    for turn in range(2):
        with writing(path, f"{turn}0000", "-") as one, writing(path, f"{turn}5000", "-") as two:
            reported += killed(one, chance.randrange(1, 40))
            reported += killed(two, chance.randrange(1, 40))
    found = Ledger(path).read()
    outcomes = {row.id: row.outcome for row in found.disclosures}
    assert reported
    for line in reported:
        name, _, state = line.partition(" ")
        assert outcomes[name] == "answered" if state == "answered" else name in outcomes
    # At most the line each killed writer was in the middle of.
    assert found.damaged <= 4


@pytest.mark.parametrize("seed", range(3))
def test_kill_minus_nine_while_pruning_loses_nothing_young(tmp_path, seed) -> None:
    """The file is the old one or the new one, whole; old and kept rows add up."""
    path = tmp_path / "ledger.jsonl"
    after = random.Random(seed).randrange(11, 80)
    with writing(path, "0", "prune") as writer:
        reported = killed(writer, after)
    found = Ledger(path).read()
    ids = [int(row.id.partition("-")[2]) for row in found.disclosures]
    intents = [line for line in reported if line.endswith("intent")]
    assert ids == list(itertools.islice(itertools.count(ids[0]), len(ids)))
    assert found.pruned + len(ids) in (len(intents), len(intents) + 1)
    assert found.pruned == ids[0]
    Ledger(path).intend(id="next", reason="r", mode="auto", data_class="public")
    assert Ledger(path).disclosures()[-1].id == "next"


def test_a_full_disk_is_an_error_and_spoils_nothing(tmp_path) -> None:
    """What was written before is whole; with room again the ledger goes on."""
    path = tmp_path / "ledger.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    *written, said = done.stdout.splitlines()
    assert said.startswith("full: cannot write the ledger")
    assert written
    Ledger(path).intend(id="next", reason="r", mode="auto", data_class="public")
    assert [row.id for row in Ledger(path).disclosures()] == [*written, "next"]
