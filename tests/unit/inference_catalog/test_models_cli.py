"""``lanai models`` as a person or a script meets it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import catalog
from inference.catalog.entries import load_entries
from inference.testing import write_tiny_model
from lanai.cli.mount import run

KEYS = {"name", "architecture", "parameters", "bits_per_weight", "bytes", "sha256", "license"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")
    return tmp_path / "home"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_model(tmp_path / "noise"))


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_list_names_the_defaults_and_what_is_installed(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One array; each row has the agreed keys and says whether it is installed."""
    assert run(["models", "pull", model, "--json"]) == 0
    assert printed(capsys)["name"] == "noise"
    assert run(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in printed(capsys)}
    assert {"smollm2-135m-instruct", "smollm2-135m-instruct-source"} <= set(rows)
    assert {"gemma-3-270m", "gemma-3-270m-source"} <= set(rows)
    assert all(row.keys() >= KEYS for row in rows.values())
    assert [name for name, row in rows.items() if row["installed"]] == ["noise"]


def test_show_is_honest_about_the_device_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a pull it shows the catalog's facts; the note says what it is packed of."""
    assert run(["models", "show", "smollm2-135m-instruct", "--json"]) == 0
    row = printed(capsys)
    assert row.keys() >= KEYS
    assert not row["installed"]
    assert row["bits_per_weight"] == pytest.approx(5.2814)
    assert "packed here of smollm2-135m-instruct-source" in row["note"]


def test_a_model_that_the_catalog_lists_anew_is_told(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Installed under a catalog name with other weights: it runs, and the note says what to do."""
    assert run(["models", "pull", model, "--json"]) == 0
    installed = printed(capsys)
    for listed, noted in (("0" * 64, True), (installed["sha256"], False)):
        entry = replace(load_entries()["gemma-3-270m"], name="noise", note="", sha256=listed)
        for known in (load_entries(), catalog.load_entries()):
            monkeypatch.setitem(known, "noise", entry)
        assert run(["models", "show", "noise", "--json"]) == 0
        assert ("lanai models pull noise" in printed(capsys).get("note", "")) == noted


def test_rm_removes_and_then_knows_nothing(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are one line and a hint on stderr, nothing on stdout, exit code 1."""
    run(["models", "pull", model, "--json"])
    capsys.readouterr()
    assert run(["models", "rm", "noise", "--json"]) == 0
    assert printed(capsys) == {"name": "noise", "removed": True}
    assert run(["models", "show", "noise"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "lanai: noise is not installed",
        "hint: `lanai models pull noise`",
    ]


def test_show_verify_finds_changed_weights(
    model: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same size, other bytes: only the hash tells."""
    run(["models", "pull", model])
    weights = home / "models" / "noise" / "model.safetensors"
    data = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    capsys.readouterr()
    assert run(["models", "show", "noise"]) == 0
    assert run(["models", "show", "noise", "--verify"]) == 1


def test_perplexity_and_score_run_the_model(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agreed keys; random weights know nothing, so the perplexity is above the vocabulary's
    square root; --limit counts scored questions."""
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    arguments = ["--text", str(tmp_path / "text"), "--window", "64", "--chunks", "5", "--json"]
    assert run(["models", "perplexity", model, *arguments]) == 0
    measured = printed(capsys)
    assert measured["tokens"] == 160
    assert measured["perplexity"] > 17
    rows = [{"query": f"q{i}", "choices": ["a", "b"], "gold": i % 2} for i in range(9)]
    (tmp_path / "rows").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["--choices", str(tmp_path / "rows"), "--shots", "2", "--limit", "4", "--json"]
    assert run(["models", "score", model, *arguments]) == 0
    scored = printed(capsys)
    assert scored["n"] == 4
    assert 0 <= scored["accuracy"] <= 1


def test_bad_input_to_the_measures_is_a_usage_error(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2; the text itself is never repeated."""
    (tmp_path / "short").write_text("secret words")
    assert run(["models", "perplexity", model, "--text", str(tmp_path / "short")]) == 2
    assert run(["models", "score", model, "--choices", str(tmp_path / "short")]) == 2
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert run(["models", "perplexity", model, "--text", str(tmp_path / "binary")]) == 2
    assert run(["models", "perplexity", model, "--text", str(tmp_path / "absent")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "secret" not in err
