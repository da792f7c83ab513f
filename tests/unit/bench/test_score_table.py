"""``lanai bench scores`` on models of random weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.scores import COLUMNS
from inference.testing.tiny_model import write_tiny_model
from lanai.cli.mount import run


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command for two models, one of them on the way to the other, and eight questions."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    text = tmp_path / "data" / "text"
    text.mkdir(parents=True)
    for task in ("piqa", "arc_easy"):
        rows = [
            {"id": f"{task}-{at}", "query": f"Question: {at}\n", "choices": ["a", "b c"], "gold": 1}
            for at in range(4)
        ]
        (text / f"{task}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    names = [
        f"--{role}={write_tiny_model(tmp_path / role, seed=at)}"
        for at, role in enumerate(("source", "step", "cloud"))
    ]
    tasks = ["--task=piqa", "--task=arc_easy", f"--data={tmp_path / 'data'}", "--threads=1"]
    return ["bench", "scores", *names, *tasks]


def test_a_step_is_scored_against_its_source(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with all its questions, and the difference to the source question by question."""
    assert run([*asked, "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["role"], row["name"]) for row in rows] == [
        ("source", "source"),
        ("step", "step"),
        ("cloud", "cloud"),
    ]
    for row in rows:
        shares = [task["accuracy"] for task in row["tasks"].values()]
        assert row["all"][0] == pytest.approx(sum(shares) / 2)
        assert {task["n"] for task in row["tasks"].values()} == {4}
    difference = rows[1]["all"][0] - rows[0]["all"][0]
    assert rows[1]["against_source"][0] == pytest.approx(difference)


def test_the_table_has_a_cell_for_each_column(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours and the published ones; tasks that were not asked stay empty."""
    assert run(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.count("|") == len(COLUMNS) + 3 for line in lines)
    ours = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert ours[0].startswith("source: source, ")
    assert "±" in ours[-1]
    assert ours[2] == ""
    assert sum("published: OpenELM" in line for line in lines) >= 1
