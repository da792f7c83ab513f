"""Gemma 3 packed: norms behind both parts of a layer, windows, and the kernels that run them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from packed_folders import installed_at, say_packed

from inference.decoder import load_decoder
from inference.formats.packed import WEIGHTS, write_packed
from inference.kernels import Kernels
from inference.packed_decoder import PackedDecoder
from inference.packing.pack import pack
from inference.profiling import Plan, profile
from inference.testing import write_tiny_model
from inference.testing.random_packed import tiny_config, write_tiny_packed
from inference.text import TextModel, load_text_model

PROSE = "the quick brown fox jumps over the lazy dog. " * 40
GEMMA = tiny_config(
    vocabulary=288,
    width=64,
    ffn_width=128,
    max_context=1024,
    activation="gelu_tanh",
    embedding_scale=8.0,
    qk_norm=True,
    sandwich_norms=True,
    window=20,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    write_tiny_packed(folder, GEMMA)
    say_packed(folder)
    return folder


@pytest.fixture
def text(tmp_path: Path) -> TextModel:
    return load_text_model(write_tiny_model(tmp_path / "text"))


def logits(folder: Path, precision: str) -> torch.Tensor:
    decoder = load_decoder(folder, context_tokens=64, precision=precision)  # type: ignore[arg-type]
    assert isinstance(decoder, PackedDecoder) is (precision == "auto")
    ids = torch.from_numpy(np.random.default_rng(2).integers(0, 288, 60))
    return decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits


def test_the_kernels_run_what_torch_does(kernels: Kernels, source: Path) -> None:
    """The same logits to 8-bit accuracy, beyond the window too."""
    found, expected = logits(source, "auto"), logits(source, "float32")
    assert float((found - expected).std() / expected.std()) < 0.06


def test_it_packs_to_fewer_bits(kernels: Kernels, source: Path, text: TextModel) -> None:
    """Each part is rounded on what it sees: what is left is noise of so many bits."""
    packed = pack(source, text, PROSE, bits=4.5, group=32, say=lambda _: None)
    expected = logits(source, "float32")
    write_packed(source / WEIGHTS, packed.config, packed.group, packed.matrices, packed.vectors)
    found = logits(source, "float32")
    assert float((found - expected).std() / expected.std()) < 0.5


def test_it_has_a_profile(kernels: Kernels, source: Path, text: TextModel) -> None:
    """Every matrix of every layer, and what a step takes."""
    model = installed_at(source, "gemma3")
    plan = Plan(threads=1, calibration=PROSE, bits=4.5, rounds=1)
    found = profile(model, model, text, plan)
    assert len(found.allocation.chosen) == 7 * GEMMA.layers
