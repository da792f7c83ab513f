"""Each family with random weights against an implementation that is not ours."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
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


OPENELM = {
    "model_type": "openelm",
    "vocab_size": 96,
    "model_dim": 64,
    "head_dim": 16,
    "num_transformer_layers": 3,
    "num_query_heads": [2, 4, 6],
    "num_kv_heads": [1, 2, 3],
    "ffn_multipliers": [0.5, 1.3, 2.0],
    "ffn_dim_divisor": 16,
    "ffn_with_glu": True,
    "activation_fn_name": "swish",
    "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": True,
    "share_input_output_layers": True,
    "rope_freq_constant": 10000,
    "max_context_length": 128,
}
OPENELM_FFN = [32, 80, 128]  # 0.5, 1.3 and 2.0 times 64, to the nearest 16


def openelm_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    weights = {
        "transformer.token_embeddings.weight": torch.randn(96, 64) * 0.3,
        "transformer.norm.weight": 1 + torch.randn(64) * 0.2,
    }
    sizes = zip(OPENELM["num_query_heads"], OPENELM["num_kv_heads"], OPENELM_FFN, strict=True)  # type: ignore[call-overload]
    for layer, (heads, kv_heads, ffn) in enumerate(sizes):
        shapes = {
            "attn.qkv_proj": ((heads + 2 * kv_heads) * 16, 64),
            "attn.out_proj": (64, heads * 16),
            "attn.q_norm": (16,),
            "attn.k_norm": (16,),
            "attn_norm": (64,),
            "ffn_norm": (64,),
            "ffn.proj_1": (2 * ffn, 64),
            "ffn.proj_2": (64, ffn),
        }
        for name, shape in shapes.items():
            noise = torch.randn(*shape) * 0.2
            offset = 1 if len(shape) == 1 else 0
            weights[f"transformer.layers.{layer}.{name}.weight"] = noise + offset
    return weights


def openelm_forward(weights: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """OpenELM after its paper, head by head and token by token, with complex rotations."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weights[name + ".weight"]

    def turn(x: torch.Tensor) -> torch.Tensor:
        turns = 10000.0 ** -(torch.arange(8).double() / 8)
        angles = torch.arange(len(x)).double()[:, None] * turns
        spun = torch.complex(x[:, :8].double(), x[:, 8:].double()) * torch.exp(1j * angles)
        return torch.cat([spun.real, spun.imag], -1).float()

    x = weights["transformer.token_embeddings.weight"][ids]
    sizes = zip(OPENELM["num_query_heads"], OPENELM["num_kv_heads"], strict=True)  # type: ignore[call-overload]
    for layer, (heads, kv_heads) in enumerate(sizes):
        prefix = f"transformer.layers.{layer}."
        qkv = norm(x, prefix + "attn_norm") @ weights[prefix + "attn.qkv_proj.weight"].T
        parts = qkv.view(len(ids), -1, 16).unbind(1)
        seen = []
        for head in range(heads):
            pair = heads + head * kv_heads // heads
            q = turn(norm(parts[head], prefix + "attn.q_norm"))
            k = turn(norm(parts[pair], prefix + "attn.k_norm"))
            later = torch.ones(len(ids), len(ids)).triu(1).bool()
            weight = (q @ k.T / math.sqrt(16)).masked_fill(later, -math.inf).softmax(-1)
            seen.append(weight @ parts[pair + kv_heads])
        x = x + torch.cat(seen, -1) @ weights[prefix + "attn.out_proj.weight"].T
        both = norm(x, prefix + "ffn_norm") @ weights[prefix + "ffn.proj_1.weight"].T
        gate, up = both.chunk(2, -1)
        x = x + (gate * gate.sigmoid() * up) @ weights[prefix + "ffn.proj_2.weight"].T
    return norm(x, "transformer.norm") @ weights["transformer.token_embeddings.weight"].T


def test_openelm_equals_a_plain_implementation(tmp_path: Path) -> None:
    """Layers of different widths, fused projections, shared embeddings."""
    weights = openelm_weights()
    (tmp_path / "config.json").write_text(json.dumps(OPENELM))
    save_file(weights, tmp_path / "model.safetensors")
    decoder = load_decoder(tmp_path, context_tokens=64, precision="float32")
    assert [shape.ffn_width for shape in decoder.config.shapes] == OPENELM_FFN
    ids = torch.randint(0, 96, (33,))
    found = decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits
    torch.testing.assert_close(found, openelm_forward(weights, ids), atol=1e-4, rtol=1e-4)


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
