"""``lanai bench route`` prints what it promises."""

import json
import tomllib
from pathlib import Path

from click.testing import CliRunner

from bench.route import route

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_agreed_keys_are_printed() -> None:
    """p50 and p99 of the decision, of wall clock and thread around it, and of both variants."""
    done = CliRunner().invoke(route, ["--runs", "20", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    for row in (document, document["early_decode"], document["shadow"]):
        for key in ("decision_us", "wall_us", "cpu_us"):
            assert row[key]["p99"] >= row[key]["p50"] > 0
        assert 0 <= row["preempted"] <= 1


def test_a_table_names_every_row() -> None:
    """For people."""
    done = CliRunner().invoke(route, ["--runs", "1"])
    assert [line.split()[0] for line in done.output.splitlines()[1:]] == [
        "prefill",
        "early_decode",
        "shadow",
    ]


def test_the_command_is_registered() -> None:
    """As a member of ``lanai bench``."""
    entries = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]
    assert entries["lanai.bench"]["route"] == "bench.route:route"
