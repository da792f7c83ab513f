"""Gemma 3 in training, against ``transformers``: values and slopes."""

from pathlib import Path

import pytest
import torch
import transformers
from torch.nn import functional

from inference.training import AnswerLoss, Batch, Example, LowRankChanges, TrainableDecoder

NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "output": "o_proj"}


@pytest.fixture(scope="module")
def reference() -> transformers.PreTrainedModel:
    """Seven layers, windows in six of them, norms on both sides of each part."""
    config = transformers.Gemma3TextConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=7,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=64,
        sliding_window=9,
        query_pre_attn_scalar=24,
        pad_token_id=0,
        attn_implementation="eager",
    )
    torch.manual_seed(7)
    model = transformers.Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms begin as constants, which would hide errors
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture(scope="module")
def model(
    reference: transformers.PreTrainedModel, tmp_path_factory: pytest.TempPathFactory
) -> TrainableDecoder:
    path: Path = tmp_path_factory.mktemp("gemma")
    reference.save_pretrained(path)
    return TrainableDecoder.load(path, precision="float32")


def test_logits_are_those_of_transformers(
    reference: transformers.PreTrainedModel, model: TrainableDecoder
) -> None:
    """Windows, scales and norms are where the family has them."""
    ids = torch.randint(96, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(ids).logits
    torch.testing.assert_close(model.logits(model.hidden(ids)), expected, atol=2e-4, rtol=1e-4)


def test_slopes_are_those_of_transformers(
    reference: transformers.PreTrainedModel, model: TrainableDecoder
) -> None:
    """The slope at ``B`` is alpha / r times the slope at W, times A^T."""
    ids = torch.randint(96, (25,), generator=torch.Generator().manual_seed(1))
    wanted = torch.arange(25) > 12
    changes = LowRankChanges(model.config, rank=3, alpha=6.0)
    batch = Batch.of([Example(ids=ids, wanted=wanted)], [0])
    AnswerLoss()(model, changes, batch, backward=True)
    logits = reference(ids[None]).logits[0, :-1]
    functional.cross_entropy(logits[wanted[1:]], ids[1:][wanted[1:]]).backward()
    for name, b in changes.b.items():
        _, layer, part = name.split(".")
        of_layer = reference.model.layers[int(layer)]
        owner = of_layer.self_attn if part in NAMES else of_layer.mlp
        slope = getattr(owner, NAMES.get(part, f"{part}_proj")).weight.grad
        assert b.grad is not None
        expected = 2.0 * slope @ changes.a[name].detach().T
        torch.testing.assert_close(b.grad, expected, atol=1e-5, rtol=2e-3)
