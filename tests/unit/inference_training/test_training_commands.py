"""``lanai adapters train`` and ``recover`` on tiny models, from files to folders."""

import json
from pathlib import Path

import pytest

from inference.adapters import read_adapter
from inference.adapters.manifest import read_manifest
from inference.training import TrainableDecoder
from lanai.cli.mount import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": f"number {i}", "answer": "yes"}) for i in range(30)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_an_adapter_is_trained_from_rows(
    tiny_folder: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder holds an adapter of the base and its learning curve; the loss has fallen."""
    out = tmp_path / "yes"
    bounds = ["--rank", "4", "--steps", "12", "--evaluate-every", "4", "--rate", "0.03"]
    arguments = [str(rows), "--base", str(tiny_folder), "--out", str(out), *bounds, "--json"]
    assert run(["adapters", "train", *arguments]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert facts["held_out"] < facts["before"]
    assert facts["steps"] == 12
    assert "30 examples" in captured.err
    assert "number" not in captured.err
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    decoder = TrainableDecoder.load(tiny_folder)
    adapter = read_adapter(out, decoder.config)
    assert (adapter.name, adapter.rank) == ("yes", 4)


def test_training_goes_on_from_an_adapter(
    tiny_folder: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the first run ended with is where the second begins."""
    shared = [str(rows), "--base", str(tiny_folder), "--rate", "0.03", "--json"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(["adapters", "train", *shared, "--out", str(first), "--steps", "6"]) == 0
    ended = json.loads(capsys.readouterr().out)
    go_on = ["--out", str(second), "--steps", "1", "--begin-with", str(first)]
    assert run(["adapters", "train", *shared, *go_on]) == 0
    began = json.loads(capsys.readouterr().out)
    assert began["before"] == pytest.approx(ended["held_out"], rel=0.02)


def test_a_packed_model_is_recovered(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a source and its packed form to an adapter in 8 bits that says what it is for."""
    packed, out = tmp_path / "packed", tmp_path / "recovery"
    assert run(["models", "pack", str(tiny_folder), "--bits", "3", "--out", str(packed)]) == 0
    capsys.readouterr()
    sizes = ["--sequences", "16", "--length", "32", "--rank", "2", "--steps", "2"]
    arguments = [str(packed), "--source", str(tiny_folder), "--out", str(out), *sizes, "--json"]
    assert run(["adapters", "recover", *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == (out / "adapter_model.safetensors").stat().st_size
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest.kind == "recovery"
    assert manifest.base.name == "packed"


def test_a_folder_that_is_there_is_not_overwritten(
    tiny_folder: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked before anything is loaded."""
    assert run(["adapters", "train", str(rows), "--base", str(tiny_folder), "--out", str(tmp_path)])
    assert "is there already" in capsys.readouterr().err
