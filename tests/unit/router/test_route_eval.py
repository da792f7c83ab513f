"""``lanai route eval``: reading results, honest splits, figures beside baselines."""

import csv
import json

import numpy as np
import pytest

from lanai.cli.mount import run
from lanai.errors import ConfigError
from router.comparison import score_by_text
from router.deferral import DeferralCurve
from router.results import read_results

HARD = "Prove that the sum {} + {} is even, step by step, and not otherwise."
EASY = "Say hello {} {}."


@pytest.fixture
def table(tmp_path):
    """Hard prompts are won by the cloud, easy ones by neither; a tenth of grades is noise."""

    def write(name="results.csv", rows=160, seed=0, **columns):
        random = np.random.default_rng(seed)
        path = tmp_path / name
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "subject", "prompt", "weak_correct", "strong_correct", *columns])
            for row in range(rows):
                hard = row % 2
                prompt = (HARD if hard else EASY).format(row, seed)
                weak = int((random.random() < 0.1) == hard)
                added = [make(row) for make in columns.values()]
                writer.writerow([f"q{row}", f"s{row % 8}", prompt, weak, 1, *added])
        return path

    return write


@pytest.fixture
def evaluated(capsys):
    def call(*arguments):
        assert run(["route", "eval", *map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_a_ranking_that_tells_stands_above_its_baselines(table, evaluated):
    """Every figure has value and interval; length, random and oracle stand beside it."""
    document = evaluated("--data", table())
    assert document["apgr"]["value"] > 0.6
    for key in ("apgr", "cpt50", "cpt80", "aiq"):
        for row in (document, *document["baselines"].values(), document["oracle"]):
            low, high = row[key]["ci"]
            assert low <= row[key]["value"] <= high
    assert document["baselines"]["random"]["apgr"]["value"] == 0.5
    assert document["split"]["by"] == "5 folds by prompt"


def test_copies_of_a_test_prompt_are_not_learned_from(table, evaluated):
    """Training on the very file that is judged leaves nothing to learn from: an error, no score."""
    same = table()
    other = table("other.csv", seed=1)
    document = evaluated("--data", same, "--train", other)
    assert document["split"]["copies_dropped"] == 0
    assert run(["route", "eval", "--data", str(same), "--train", str(same)]) == 2


def test_grades_of_the_test_never_reach_its_scores(table):
    """Held-out scores of a fold stay the same when that fold's grades are turned around."""
    results = read_results(table())
    folds = results.folds("subject", folds=5)
    plain = score_by_text(results, None, "subject", lambda done, total: None).scores
    turned = read_results(table())
    turned.weak[folds == 0] = 1 - turned.weak[folds == 0]
    again = score_by_text(turned, None, "subject", lambda done, total: None).scores
    np.testing.assert_array_equal(plain[folds == 0], again[folds == 0])
    assert not np.array_equal(plain[folds == 1], again[folds == 1])


def test_contaminated_rows_are_left_out(table, evaluated, tmp_path):
    """By a list beside the data, or by the one that is named."""
    data = table()
    (tmp_path / "contaminated_ids.csv").write_text("q0\nq1\nelsewhere-7\n")
    assert evaluated("--data", data)["questions"] == 158
    listed = tmp_path / "mine.txt"
    listed.write_text("q2\n")
    assert evaluated("--data", data, "--exclude", listed)["questions"] == 159


def test_confidence_is_judged_as_it_is(table, evaluated):
    """Without --train the column is the router: the most confident stay on the device longest."""
    document = evaluated("--data", table(confidence=lambda row: (row * 37 % 101) / 101))
    results = read_results(table(confidence=lambda row: (row * 37 % 101) / 101))
    curve = DeferralCurve.of(-results.confidence, results.weak, results.strong)
    assert document["router"] == "confidence"
    assert document["apgr"]["value"] == pytest.approx(float(curve.apgr()[0]), abs=1e-4)
    assert set(document["routers"]) == {"text", "confidence"}


def test_groups_are_shown_one_by_one(table, evaluated):
    """With --group, whole subjects are held out and each has its row."""
    document = evaluated("--data", table(), "--group", "subject")
    assert [row["group"] for row in document["groups"]] == [f"s{i}" for i in range(8)]
    assert document["split"]["by"] == "5 folds by subject"


def test_the_picture_is_a_png(table, tmp_path, capsys):
    """Drawn without a display."""
    path = tmp_path / "curve.png"
    assert run(["route", "eval", "--data", str(table()), "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "APGR" in capsys.readouterr().out


def test_the_table_fits_a_terminal(table, capsys):
    """Eighty columns, with intervals, baselines, the oracle and every group."""
    assert run(["route", "eval", "--data", str(table()), "--group", "subject"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["by", "text", "length", "random", "oracle"]
    assert [line.split()[0] for line in lines[1:5]] == ["APGR", "CPT(50)", "CPT(80)", "AIQ"]
    assert lines[-1].startswith("s7")


def test_without_the_extra_the_picture_is_refused_first(table, tmp_path, monkeypatch, capsys):
    """One line that names the extra, before any work."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert run(["route", "eval", "--data", str(table()), "--plot", str(tmp_path / "x.png")]) == 2
    assert "lanai[plots]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("id,subject,prompt,weak_correct\n", "no column strong_correct"),
        ("id,subject,prompt,weak_correct,strong_correct\n", "holds no row"),
        ("id,subject,prompt,weak_correct,strong_correct\na,s,p,2,1\n", "line 2: weak_correct"),
        ("id,subject,prompt,weak_correct,strong_correct\na,s,p\n", "line 2: not as many"),
        ("id,subject,prompt,weak_correct,strong_correct\na,s,p,1,1\na,s,q,1,1\n", "twice"),
        (
            "id,subject,prompt,weak_correct,strong_correct,confidence\na,s,secret words,1,1,nan\n",
            "line 2: confidence",
        ),
    ],
)
def test_bad_results_are_refused_by_line_without_their_content(tmp_path, text, named):
    """The message names the place, never a prompt."""
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_results(path)
    assert named in caught.value.message
    assert "secret words" not in caught.value.message
