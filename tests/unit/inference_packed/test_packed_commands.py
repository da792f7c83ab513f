"""``lanai models pack``, and what the other commands do with a packed model."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click import BadParameter
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from inference.cli.device_bench import device, path_of
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


def test_a_tokenizer_of_another_model_is_said_so(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a packed model, and in its ``text.json``: one line and a hint, exit code 1."""
    arguments = ["models", "perplexity", str(packed), "--text", text_file(tmp_path)]
    tokenizer = Tokenizer.from_file(str(packed / "tokenizer.json"))
    more = {f"more {number}": 259 + number for number in range(40)}
    tokenizer.add_tokens(list(more))
    own = (packed / "tokenizer.json").read_bytes()
    tokenizer.save(str(packed / "tokenizer.json"))
    assert run(arguments) == 1
    assert "not the tokenizer of text.json" in capsys.readouterr().err
    (packed / "tokenizer.json").write_bytes(own)
    text = json.loads((packed / "text.json").read_text())
    (packed / "text.json").write_text(json.dumps(text | {"size": 9000}))
    assert run(arguments) == 1
    said = capsys.readouterr().err
    assert "9000 tokens, the model knows 288" in said
    assert "hint: put the tokenizer there that the model was trained with" in said


def test_a_source_with_a_weight_that_is_no_number_is_not_packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NaN in one matrix: one line that names it, a hint, exit code 1, and nothing is left."""
    source = write_tiny_model(tmp_path / "noise")
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = np.nan
    save_file(tensors, source / "model.safetensors")
    assert run(["models", "pack", str(source), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "down_proj" in said
    assert "hint:" in said
    assert not (tmp_path / "out").exists()


def test_without_kernels_torch_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was compiled the same folder loads and gives about the same logits; `lanai
    bench device` says what computes, and why."""
    folder = tmp_path / "model"
    write_tiny_packed(folder, tiny_config())
    (folder / "lanai.json").write_text(
        json.dumps({"schema": "lanai.model/1", "format": "packed", "file": "model.safetensors"})
    )
    ids = torch.arange(30)
    with_kernels = load_decoder(folder, context_tokens=64)
    assert isinstance(with_kernels, PackedDecoder)
    assert path_of(with_kernels, packed=True).startswith("kernels, ")
    for place in ("inference.kernels", "inference.loading"):
        monkeypatch.setattr(f"{place}.load_kernels", lambda: None)
    plain = load_decoder(folder, context_tokens=64)
    assert not isinstance(plain, PackedDecoder)
    assert path_of(plain, packed=True) == "torch, for want of compiled kernels"
    assert path_of(plain, packed=False) == "torch"
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


@pytest.mark.parametrize("threads", ["0", "-2", "257", "two"])
def test_bench_device_takes_a_number_of_threads(threads: str) -> None:
    """None, fewer and far too many are usage errors that name the range."""
    with pytest.raises(BadParameter, match=r"range|integer"):
        bench("--threads", threads)


def test_bench_device_measures_each_file_of_the_peer(
    packed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is what ratios are to, the others stand beside it. llama.cpp is no dependency, so
    its part is played here: only which file is measured where is shown."""

    ran: list[tuple[str, int]] = []

    class Peer:
        def __init__(self, file: str, **_: Any) -> None:
            self.name = Path(file).name

        def reset(self) -> None:
            pass

        def eval(self, ids: list[int]) -> None:
            ran.append((self.name, len(ids)))

    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(Llama=Peer, __spec__=object()))
    monkeypatch.setattr("inference.device_speed.READ_BYTES", 1 << 20)
    files = [tmp_path / name for name in ("first.gguf", "other.gguf")]
    for file in files:
        file.touch()
    named = [part for file in files for part in ("--against-file", str(file))]
    short = ["--rounds", "1", "--prompt-tokens", "16", "--new-tokens", "4"]
    bench("--model", str(packed), "--against", "llama.cpp", *named, *short, "--json")
    row = json.loads(capsys.readouterr().out)
    assert row["against"]["file"] == "first.gguf"
    assert [each["file"] for each in row["beside"]] == ["other.gguf"]
    assert {("first.gguf", 16), ("first.gguf", 1), ("other.gguf", 16), ("other.gguf", 1)} <= {*ran}
    ours, theirs = row["decode_tok_s"], row["against"]["decode_tok_s"]
    assert row["ratio"]["decode"] == pytest.approx(ours / theirs, abs=0.001)
    bench("--model", str(packed), "--against", "llama.cpp", *named, *short)
    shown = capsys.readouterr().out
    assert shown.index("first.gguf") < shown.index("other.gguf")


def test_bench_device_says_that_the_peer_is_missing(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--against`` without llama.cpp installed: a usage error that says what to install."""
    from lanai.errors import UsageError

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        bench("--model", str(packed), "--against", "llama.cpp")
    assert "llama-cpp-python" in str(caught.value.hint)
