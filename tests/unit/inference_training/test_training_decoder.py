"""The differentiable decoder against the one that answers, and its slopes against differences."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from inference.decoder import load_decoder
from inference.testing.tiny_model import write_tiny_model
from inference.training import TrainableDecoder

Precision = Literal["bfloat16", "float32"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-4), ("bfloat16", 0.15)])
def test_same_logits_as_the_decoder(folder: Path, precision: Precision, close: float) -> None:
    """Every token's logits are those of ``inference.decoder``."""
    ids = torch.randint(288, (40,), generator=torch.Generator().manual_seed(1))
    decoder = load_decoder(folder, context_tokens=40, precision=precision)
    wanted = decoder.forward(ids, decoder.new_cache(40), all_logits=True).logits
    model = TrainableDecoder.load(folder, precision=precision)
    found = model.logits(model.hidden(ids[None]))[0]
    assert torch.allclose(found, wanted, atol=close * float(wanted.std()), rtol=close)
