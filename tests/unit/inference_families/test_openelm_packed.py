"""OpenELM packed: layers of different widths in the kernels, and the 270M shape measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.architectures import DecoderWeights, config_of_huggingface
from inference.decoder import load_decoder
from inference.device_speed import Plan, TorchRuns, measure
from inference.formats.packed import PackedFile
from inference.formats.packed_source import PackedSource
from inference.kernels import Kernels
from inference.loading import Forms, build
from inference.packed_decoder import PackedDecoder, runs_compiled
from inference.testing.random_openelm import openelm_settings, write_random_openelm
from inference.testing.random_packed import write_tiny_packed
from lanai.cli.mount import run

SMALL: dict[str, Any] = openelm_settings("OpenELM-270M") | {
    "vocab_size": 500,
    "model_dim": 128,
    "head_dim": 16,
    "num_gqa_groups": 2,
    "num_transformer_layers": 3,
    "ffn_dim_divisor": 32,
    "ffn_multipliers": [0.5, 2.0],
    "num_query_heads": None,
    "num_kv_heads": None,
    "max_context_length": 512,
}
ALLOWED = 0.06  # activations, keys and values are in 8 bits


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")


def logits_in_torch(file: PackedFile, ids: torch.Tensor) -> torch.Tensor:
    """What the weights in the file give in float32."""
    weights = DecoderWeights.of_packed(PackedSource(file))
    decoder = build(file.config, weights, Forms.all("float32"), torch.device("cpu"), 128)
    return decoder.forward(ids, decoder.new_cache(128), all_logits=True).logits


def in_kernels(file: PackedFile, kernels: Kernels, ids: torch.Tensor) -> torch.Tensor:
    decoder = PackedDecoder(file, kernels, context_tokens=128, threads=1)
    return decoder.forward(ids, decoder.new_cache(128), all_logits=True).logits


def test_every_layer_runs_at_its_own_width(kernels: Kernels, tmp_path: Path) -> None:
    """Random packed weights: the kernels give the logits torch gives, to 8-bit accuracy."""
    config = config_of_huggingface(SMALL)
    assert len({(shape.heads, shape.ffn_width) for shape in config.shapes}) == 3
    file = PackedFile.open(write_tiny_packed(tmp_path / "p", config, group=64))
    ids = torch.from_numpy(np.random.default_rng(2).integers(0, config.vocabulary, 70))
    expected = logits_in_torch(file, ids)
    for isa in kernels.available():
        found = in_kernels(file, kernels.with_isa(isa), ids)
        assert float((found - expected).std() / expected.std()) < ALLOWED


def test_a_folder_packs_and_runs(
    kernels: Kernels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``lanai models pack`` of a Hugging Face folder, then its tokens through the kernels."""
    source = write_random_openelm(tmp_path / "elm", SMALL, spread=0.1)
    said = tmp_path / "said.txt"
    said.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    out = tmp_path / "packed"
    arguments = ["--bits", "4.5", "--out", str(out), "--calibration", str(said), "--json"]
    assert run(["models", "pack", str(source), *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["body_bits_per_weight"] <= 4.5
    packed, dense = load_decoder(out, context_tokens=64), load_decoder(source, context_tokens=64)
    assert isinstance(packed, PackedDecoder)
    assert packed.config == dense.config
    ids = torch.arange(3, 60)
    found, expected = (
        decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits
        for decoder in (packed, dense)
    )
    assert float((found - expected).std() / expected.std()) < 0.5  # noise, in 4.5 bits


def test_the_270m_shape_is_measured(kernels: Kernels, tmp_path: Path) -> None:
    """271 M random weights at 2 to 4 bits: rates of prompt and single tokens in the kernels."""
    config = config_of_huggingface(openelm_settings("OpenELM-270M"))
    assert runs_compiled(config)
    file = PackedFile.open(write_tiny_packed(tmp_path / "p", config, group=64))
    weights = sum(m.shape[0] * m.shape[1] for m in file.matrices.values())
    vectors = sum(vector.size for vector in file.vectors.values())
    assert weights + vectors == 271_527_168
    decoder = PackedDecoder(file, kernels, context_tokens=24, threads=1)
    plan = Plan(prompt_tokens=16, new_tokens=2, rounds=1)
    rates, _ = measure(
        {"ours": TorchRuns(decoder)}, lambda: 1.0, plan, vocabulary=config.vocabulary
    )
    assert min(rates["ours"].values()) > 0
    last = decoder.forward(torch.arange(5), decoder.new_cache(8))
    assert last.logits.shape == (1, 32_000)
    assert bool(last.logits.isfinite().all())
