"""From inside the real confinement of each piece of a node, what is forbidden is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = str(Path(__file__).with_name("pieces.py"))
REFUSED = {"EPERM", "EACCES", "EXDEV"}


def report(piece: str, targets: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, SCRIPT, piece, json.dumps(targets)],
        capture_output=True,
        check=True,
        env=dict(os.environ) | {"OPENBLAS_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout))


def left(found: dict[str, Any]) -> set[str]:
    """What was tried and not refused."""
    return {name for name, outcome in found["tried"].items() if outcome not in REFUSED}


def check(piece: str, targets: dict[str, Any], *, may: set[str]) -> None:
    found = report(piece, targets)
    assert found["missing"] == []
    assert found["works"]
    assert left(found) == may


@pytest.mark.parametrize(
    ("piece", "may"),
    [
        # Its port, and nothing else: not another port, not a file, not a process.
        ("front", {"bind", "listen unbound"}),
        # A store in a file: unix paths, and still no abstract name.
        ("front-unix", {"bind", "listen unbound", "connect to a unix path"}),
        # Holds the keys: no socket, no file, no program.
        ("keyholder", set()),
        # Forks, and does nothing else.
        ("zygote", {"fork"}),
        # Holds text: nothing at all.
        ("worker", set()),
        # Holds ids and weights: nothing at all.
        ("engine", set()),
    ],
)
def test_a_piece_can_do_what_it_is_for_and_no_more(
    piece: str, may: set[str], targets: dict[str, Any]
) -> None:
    """Of forty attempts on files, network, others, programs and kernel, only its own succeed."""
    check(piece, targets, may=may)
