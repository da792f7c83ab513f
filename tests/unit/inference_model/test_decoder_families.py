"""Each family with random weights against an implementation that is not ours."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from inference.decoder import load_decoder
from lanai.errors import UnsupportedModel, UsageError

COMMON: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA: dict[str, Any] = {
    "num_hidden_layers": 7,
    "sliding_window": 12,
    "query_pre_attn_scalar": 24,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    },
}
FAMILIES = {
    "llama3 rope": ("Llama", {"rope_parameters": LLAMA3}),
    "llama linear rope": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0}},
    ),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "mistral window": ("Mistral", {"sliding_window": 9}),
    "qwen2 bias": ("Qwen2", {}),
    "qwen3 norms": ("Qwen3", {}),
    "gemma3": ("Gemma3", GEMMA),
}


def reference(family: str, path: Path) -> transformers.PreTrainedModel:
    """The family's own class with random weights, saved to ``path``."""
    name, options = FAMILIES[family]
    torch.manual_seed(7)
    config_class = getattr(transformers, f"{name}{'Text' if name == 'Gemma3' else ''}Config")
    model = getattr(transformers, f"{name}ForCausalLM")(config_class(**COMMON | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases begin as constants, which would hide errors
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_the_family(family: str, tmp_path: Path) -> None:
    """All positions of a 40-token prompt, to float32 accuracy."""
    model = reference(family, tmp_path)
    decoder = load_decoder(tmp_path, context_tokens=64, precision="float32")
    ids = torch.randint(0, 96, (40,))
    with torch.no_grad():
        expected = model(ids[None]).logits[0]
    found = decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama3 rope", "mistral window", "gemma3"])
def test_any_way_to_feed_a_prompt_gives_the_same(family: str, tmp_path: Path) -> None:
    """At once, in chunks across window borders, or token by token: the cache holds the same."""
    reference(family, tmp_path)
    decoder = load_decoder(tmp_path, context_tokens=64, precision="float32")
    ids = torch.randint(0, 96, (40,))
    at_once = decoder.forward(ids, decoder.new_cache(40)).logits
    for sizes in ([1] * 40, [7, 20, 1, 12], [30, 10]):
        cache = decoder.new_cache(40)
        for part in torch.split(ids, sizes):
            last = decoder.forward(part, cache)
        torch.testing.assert_close(last.logits, at_once, atol=1e-4, rtol=1e-4)
        assert cache.length == 40


def test_shards_equal_a_single_file(tmp_path: Path) -> None:
    """A model saved in several safetensors files loads to the same logits."""
    model = reference("qwen2 bias", tmp_path / "single")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    ids = torch.arange(10)
    logits = []
    for name in ("single", "sharded"):
        decoder = load_decoder(tmp_path / name, context_tokens=16, precision="float32")
        logits.append(decoder.forward(ids, decoder.new_cache(16)).logits)
    torch.testing.assert_close(*logits, atol=0, rtol=0)


def test_bfloat16_follows_float32(tmp_path: Path) -> None:
    """The working precision of unquantized files stays near the reference."""
    reference("llama3 rope", tmp_path)
    ids = torch.arange(20)
    exact, rounded = (
        decoder.forward(ids, decoder.new_cache(32)).logits
        for precision in ("float32", "auto")
        for decoder in [load_decoder(tmp_path, context_tokens=32, precision=precision)]  # type: ignore[arg-type]
    )
    assert functional.cosine_similarity(exact, rounded).item() > 0.99


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model_type": "mamba"}, UnsupportedModel),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, UnsupportedModel),
        ({"mlp_bias": True}, UnsupportedModel),
        ({"hidden_act": "relu"}, UnsupportedModel),
    ],
)
def test_what_is_not_built_is_refused(
    tmp_path: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    """A variation that would give wrong numbers is named instead of ignored."""
    reference("llama tied", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(error):
        load_decoder(tmp_path, context_tokens=16)


def test_a_context_beyond_the_model_is_refused(tmp_path: Path) -> None:
    """Nothing is clamped: the caller learns what the model was made for."""
    reference("llama tied", tmp_path)
    with pytest.raises(UsageError, match="128"):
        load_decoder(tmp_path, context_tokens=129)
