"""Qwen3 and Llama 3 as their makers publish them: by configuration only."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from inference.architectures import DecoderWeights, config_of_huggingface
from inference.architectures.recorded import config_from_json, config_to_json
from inference.decoder import load_decoder
from inference.loading import Forms, build
from inference.matrix import Matrix, PlainMatrix
from inference.rotation import RotationTable

QWEN3: dict[str, Any] = {  # Qwen/Qwen3-0.6B
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
LLAMA3: dict[str, Any] = {  # meta-llama/Llama-3.2-1B
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 128256,
}
PUBLISHED = {"qwen3": (QWEN3, 596_049_920), "llama": (LLAMA3, 1_235_814_400)}
# Each with the same keys and a fraction of the size. Scaling has to show within 60 tokens.
SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "head_dim": 16,
    "vocab_size": 211,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SHRUNK: dict[str, dict[str, Any]] = {
    "qwen3": QWEN3 | SMALL,
    "qwen3 with a head": QWEN3 | SMALL | {"tie_word_embeddings": False},
    "llama": LLAMA3
    | SMALL
    | {
        "rope_scaling": LLAMA3["rope_scaling"] | {"original_max_position_embeddings": 24},
        "rope_theta": 300.0,
    },
    "llama with a head": LLAMA3 | SMALL | {"tie_word_embeddings": False},
}


def theirs(settings: dict[str, Any]) -> transformers.PreTrainedModel:
    """The same settings in the family's own class; its weights are as the class begins them."""
    name = settings["architectures"][0]
    config_class = getattr(transformers, name.replace("ForCausalLM", "Config"))
    config = config_class(**settings, attn_implementation="eager")
    model: transformers.PreTrainedModel = getattr(transformers, name)(config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


class Shapes:
    """Their model as a file of shapes; ``read`` holds the names that were read."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        self.tensors = dict(model.named_parameters())
        self.read: list[str] = []

    def has(self, name: str) -> bool:
        return name in self.tensors

    def matrix(self, name: str) -> Matrix:
        return PlainMatrix.of(self.vector(name))

    def vector(self, name: str) -> Tensor:
        self.read.append(name)
        return self.tensors[name].data


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_published_model_is_built_of_its_tensors(family: str) -> None:
    """Every tensor of the family's own class is read once; together the published count."""
    settings, parameters = PUBLISHED[family]
    config = config_of_huggingface(settings)
    with torch.device("meta") as nowhere:
        source = Shapes(theirs(settings))
        weights = DecoderWeights.of_huggingface(source, config)
        build(config, weights, Forms.all("bfloat16"), nowhere, 64)
    assert sorted(source.read) == sorted(source.tensors)
    assert sum(math.prod(tensor.shape) for tensor in source.tensors.values()) == parameters


@pytest.mark.parametrize("name", SHRUNK)
def test_logits_are_those_of_the_family(name: str, tmp_path: Path) -> None:
    """All positions of a 60-token prompt, at once and token by token, to float32 accuracy."""
    torch.manual_seed(11)
    model = theirs(SHRUNK[name])
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms begin as ones and matrices small: both would hide errors.
            spread = 0.3 if parameter.dim() == 1 else 0.2
            parameter.add_(torch.randn_like(parameter) * spread)
    tensors = {key: value.contiguous() for key, value in model.named_parameters()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(SHRUNK[name]))
    decoder = load_decoder(tmp_path, context_tokens=64, precision="float32")
    ids = torch.randint(0, 211, (60,))
    with torch.no_grad():
        expected = model(ids[None]).logits[0]
    found = decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    cache = decoder.new_cache(64)
    steps = torch.cat([decoder.forward(one, cache).logits for one in torch.split(ids, 1)])
    torch.testing.assert_close(steps, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_rotations_are_those_of_llama_3(factor: float) -> None:
    """Llama 3.1 stretches eightfold, 3.2 by 32: angles at far positions are the family's own."""
    settings = LLAMA3 | {"rope_scaling": LLAMA3["rope_scaling"] | {"factor": factor}}
    shape = config_of_huggingface(settings).shapes[0]
    positions = 20_000
    cosine, sine = RotationTable(shape.rope, shape.head_width, positions, torch.float32).halves()
    config = transformers.LlamaConfig(**settings)
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    their_cosine, their_sine = rotary(torch.zeros(1), torch.arange(positions)[None])
    for ours, family in ((cosine, their_cosine), (sine, their_sine)):
        torch.testing.assert_close(ours, family[0, :, :32], atol=2e-3, rtol=0)


def test_newer_files_say_the_same(tmp_path: Path) -> None:
    """``rope_parameters`` of newer files and ``rope_scaling`` with ``rope_theta`` of older ones."""
    theirs(SHRUNK["llama"]).config.save_pretrained(tmp_path)
    newer = json.loads((tmp_path / "config.json").read_text())
    assert "rope_parameters" in newer
    assert config_of_huggingface(newer) == config_of_huggingface(SHRUNK["llama"])


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_packed_file_carries_the_settings(family: str) -> None:
    """As JSON and back they are the same, the scaling of the rotation with them."""
    config = config_of_huggingface(PUBLISHED[family][0])
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config
