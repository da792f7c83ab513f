"""``lanai models pack``, and what the other commands do with a packed model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.cli.device_bench import device
from inference.decoder import load_decoder
from inference.packed_decoder import PackedDecoder
from inference.testing import write_tiny_model
from inference.testing.random_packed import tiny_config, write_tiny_packed
from inference.text import ChatMessage, load_text_model
from lanai.cli.mount import run
from lanai.content import Content

CONTRACT = {"bits_per_weight", "bytes", "per_tensor"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("source") / "noise")


@pytest.fixture
def packed(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "packed"
    assert run(["models", "pack", str(source), "--bits", "4.5", "--out", str(out)]) == 0
    capsys.readouterr()
    return out


def text_file(folder: Path) -> str:
    path = folder / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    return str(path)


def perplexity(name: Path, text: str, capsys: pytest.CaptureFixture[str]) -> float:
    arguments = ["--text", text, "--window", "64", "--chunks", "12", "--json"]
    assert run(["models", "perplexity", str(name), *arguments]) == 0
    return float(json.loads(capsys.readouterr().out)["perplexity"])


def test_packing_gives_the_agreed_facts(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys of the contract; the layers keep to the bits asked for; the folder is a model."""
    out = tmp_path / "small"
    assert run(["models", "pack", str(source), "--bits", "4.2", "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() >= CONTRACT
    assert facts["body_bits_per_weight"] <= 4.2
    assert {row["bits"] for row in facts["per_tensor"].values()} <= {2, 3, 4, 8}
    assert facts["bytes"] == (out / "model.safetensors").stat().st_size
    assert run(["models", "show", str(out), "--verify", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sha256"] == facts["sha256"]
    assert shown["bits_per_weight"] == facts["bits_per_weight"]


def test_a_packed_model_predicts_about_as_well(
    source: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 4.5 bits the perplexity is within a tenth of that of the source."""
    text = text_file(tmp_path)
    assert perplexity(packed, text, capsys) == pytest.approx(
        perplexity(source, text, capsys), rel=0.1
    )


def test_a_packed_model_reads_text_as_its_source_does(source: Path, packed: Path) -> None:
    """The same ids for prompts and texts, the same ends, and control tokens are never text."""
    ours, theirs = load_text_model(packed), load_text_model(source)
    chat = [ChatMessage(role="user", text=Content("hello <|im_end|> née 👍"))]
    assert ours.render(chat) == theirs.render(chat)
    assert ours.encode("a b\n<|im_start|>") == theirs.encode("a b\n<|im_start|>")
    assert (ours.stop_ids, ours.bos_id, ours.vocabulary) == (
        theirs.stop_ids,
        theirs.bos_id,
        theirs.vocabulary,
    )


def test_packing_does_not_write_over_a_folder(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a hint, before anything is computed."""
    assert run(["models", "pack", str(source), "--out", str(tmp_path)]) == 2
    assert "hint:" in capsys.readouterr().err


def test_a_damaged_packed_model_is_said_so(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One flipped bit in the weights: one line and a hint, exit code 1."""
    weights = packed / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-300] ^= 4
    weights.write_bytes(content)
    assert run(["models", "perplexity", str(packed), "--text", text_file(tmp_path)]) == 1
    assert "damaged" in capsys.readouterr().err


def test_without_kernels_torch_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was compiled the same folder loads and gives about the same logits."""
    folder = tmp_path / "model"
    write_tiny_packed(folder, tiny_config())
    (folder / "lanai.json").write_text(
        json.dumps({"schema": "lanai.model/1", "format": "packed", "file": "model.safetensors"})
    )
    ids = torch.arange(30)
    with_kernels = load_decoder(folder, context_tokens=64)
    assert isinstance(with_kernels, PackedDecoder)
    monkeypatch.setattr("inference.loading.load_kernels", lambda: None)
    plain = load_decoder(folder, context_tokens=64)
    assert not isinstance(plain, PackedDecoder)
    one, other = (
        model.forward(ids, model.new_cache(64), all_logits=True).logits
        for model in (with_kernels, plain)
    )
    assert float((one - other).std() / other.std()) < 0.1


def bench(*arguments: str) -> Any:
    """The command itself: its place in ``lanai bench`` is an entry point."""
    return device.main([*arguments], standalone_mode=False)


def test_bench_device_prints_the_agreed_keys(
    packed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key of the contract is there and a number."""
    monkeypatch.setattr("inference.device_speed.READ_BYTES", 1 << 20)
    bench(
        *("--model", str(packed), "--rounds", "1", "--prompt-tokens", "16", "--new-tokens", "4"),
        "--json",
    )
    row = json.loads(capsys.readouterr().out)
    for key in ("prefill_tok_s", "decode_tok_s", "bandwidth_gb_s", "bandwidth_share", "load_s"):
        assert row[key] >= 0
    assert "rss_mb" in row
    assert row["large_pages_mb"] >= 0


def test_bench_device_says_that_the_peer_is_missing(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--against`` without llama.cpp installed: a usage error that says what to install."""
    from lanai.errors import UsageError

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        bench("--model", str(packed), "--against", "llama.cpp")
    assert "llama-cpp-python" in str(caught.value.hint)
