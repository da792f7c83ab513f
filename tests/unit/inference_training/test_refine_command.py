"""``lanai models refine``, and packing that keeps codes where bits allow it."""

import json
from pathlib import Path

import pytest

from inference.decoder import load_decoder
from lanai.cli.mount import run


def test_the_command_writes_a_model_of_the_same_size(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Packed, given an adapter, refined: the folder is a model with the adapter always on, its
    weight file takes as many bytes as before, and texts and layers are kept for the next run."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    written = ["--sequences", "8", "--length", "24", "--written", str(tmp_path / "ids.npy")]
    source = ["--source", str(tiny_folder)]

    def lanai(*arguments: str) -> dict[str, object]:
        assert run([*arguments, "--json"]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    small, out = str(tmp_path / "small"), tmp_path / "refined"
    packing = ["--bits", "3.8", "--calibration", str(text), "--out", small]
    before = lanai("models", "pack", str(tiny_folder), *packing)
    adapter = ["--out", str(tmp_path / "adapter"), "--minutes", "0", "--rank", "2"]
    lanai("adapters", "recover", small, *source, *written, *adapter)
    refining = ["--recovery", str(tmp_path / "adapter"), "--epochs", "1", "--minutes", "1"]
    kept = ["--steps", "2", "--layers", str(tmp_path / "layers"), "--out", str(out)]
    facts = lanai("models", "refine", small, *source, *written, *refining, *kept)
    assert (out / "model.safetensors").stat().st_size == before["bytes"]
    assert facts["body_bits_per_weight"] == before["body_bits_per_weight"]
    assert facts["steps"] == 2
    assert len(list((tmp_path / "layers").glob("*.safetensors"))) == 2
    manifest = json.loads((out / "lanai.json").read_text(encoding="utf-8"))
    assert manifest["adapter"] == "adapter"
    assert manifest["bytes"] == facts["bytes"]
    load_decoder(out, context_tokens=32)
    again, adapter = tmp_path / "again", ["--out", str(tmp_path / "no"), "--minutes", "0"]
    further = ["--epochs", "0", "--minutes", "1", "--steps", "2", "--tokens", "24"]
    further += ["--hold", "matrices"]
    facts = lanai("models", "refine", str(out), *source, *written, *further, "--out", str(again))
    assert (facts["steps"], facts["tokens"]) == (2, 48)
    names = ("model.safetensors", "adapter/adapter_model.safetensors")
    assert [(again / it).read_bytes() == (out / it).read_bytes() for it in names] == [True, False]
    assert run(["adapters", "recover", str(out), *source, *adapter]) != 0
    assert "of its own already" in capsys.readouterr().err
    recovery = ["--recovery", str(out / "adapter"), "--out", str(tmp_path / "no")]
    assert run(["models", "refine", str(out), *source, *recovery]) != 0
    assert "leave --recovery out" in capsys.readouterr().err
    told = out / "adapter" / "lanai.json"
    told.write_text(told.read_text("utf-8").replace('"recovery"', '"task"    '), "utf-8")
    assert run(["models", "refine", str(out), *source, "--out", str(tmp_path / "no")]) != 0
    assert "none of recovery" in capsys.readouterr().err
    assert run(["models", "refine", str(tiny_folder), *source, "--out", str(tmp_path / "no")]) != 0
    assert "not packed" in capsys.readouterr().err
