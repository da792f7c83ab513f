"""Settings that lie: each is a typed error with a hint, never a model of wrong numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from inference.architectures import DecoderConfig, config_of_huggingface
from inference.decoder import load_decoder
from inference.testing import write_tiny_model
from inference.testing.random_openelm import openelm_settings, openelm_shapes
from lanai.errors import ModelError, ModelFormatError, UnsupportedModel

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA: dict[str, Any] = LLAMA | {
    "model_type": "gemma3_text",
    "query_pre_attn_scalar": 24,
    "sliding_window": 12,
}
OPENELM = openelm_settings("OpenELM-270M")
BASES = {"llama": LLAMA, "qwen3": LLAMA | {"model_type": "qwen3"}, "gemma": GEMMA}
BASES |= {"mistral": LLAMA | {"model_type": "mistral"}, "openelm": OPENELM}


def scaled(**changes: Any) -> dict[str, Any]:
    return {"rope_scaling": {k: v for k, v in (SCALING | changes).items() if v is not None}}


WRONG = [
    ("llama", {"num_key_value_heads": 4}, "6 heads"),
    ("llama", {"num_attention_heads": 5}, "48"),
    ("llama", {"num_attention_heads": 0}, "heads"),
    ("llama", {"head_dim": 7}, "halves"),
    ("llama", {"hidden_size": -48}, "size"),
    ("llama", {"hidden_size": 3 << 40}, "size"),
    ("llama", {"hidden_size": 48.5}, "hidden_size"),
    ("llama", {"vocab_size": True}, "vocab_size"),
    ("llama", {"vocab_size": "64"}, "vocab_size"),
    ("llama", {"num_hidden_layers": 10**9}, "layers"),
    ("llama", {"rms_norm_eps": None}, "rms_norm_eps"),
    ("llama", {"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    ("llama", {"rms_norm_eps": -1.0}, "positive"),
    ("llama", {"rope_theta": 0}, "rotary"),
    ("llama", {"rope_theta": float("inf")}, "rope_theta"),
    ("llama", {"rope_scaling": "llama3"}, "rope_scaling"),
    ("llama", scaled(factor=None), "factor"),
    ("llama", scaled(low_freq_factor=4.0), "frequencies"),
    ("llama", scaled(original_max_position_embeddings=0), "rotary"),
    ("llama", scaled(high_freq_factor=None), "high_freq_factor"),
    ("mistral", {"sliding_window": 0}, "less than one"),
    ("mistral", {"sliding_window": "many"}, "sliding_window"),
    ("gemma", {"layer_types": ["full_attention"]}, "layer_types"),
    ("gemma", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
    ("openelm", {"num_query_heads": [12] * 16}, "qkv_multipliers"),
    ("openelm", {"num_query_heads": None, "qkv_multipliers": None}, "qkv_multipliers"),
    ("openelm", {"num_kv_heads": [3] * 15}, "num_kv_heads"),
    ("openelm", {"num_kv_heads": [5] * 16}, "evenly"),
    ("openelm", {"num_kv_heads": [0] * 16}, "size"),
    ("openelm", {"num_gqa_groups": 0}, "num_gqa_groups"),
    ("openelm", {"ffn_multipliers": [1.0] * 17}, "ffn_multipliers"),
    ("openelm", {"ffn_multipliers": [0.5, -4.0]}, "ffn_multipliers"),
    ("openelm", {"ffn_multipliers": ["a", "b"]}, "ffn_multipliers"),
    ("openelm", {"ffn_dim_divisor": 0}, "ffn_dim_divisor"),
    ("openelm", {"num_transformer_layers": 0}, "layers"),
]
UNBUILT = [
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
    ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
    ("llama", {"partial_rotary_factor": 0.5}, "part"),
    ("llama", {"hidden_act": "relu"}, "relu"),
    ("llama", {"attention_bias": True}, "attention_bias"),
    ("qwen3", {"attention_bias": True}, "attention_bias"),
    ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
    ("gemma", {"layer_types": ["full_attention", "linear_attention"]}, "kind"),
    ("openelm", {"ffn_with_glu": False}, "gates"),
    ("openelm", {"normalization_layer_name": "layer_norm"}, "norms"),
]


def refusal(settings: dict[str, Any]) -> ModelError | None:
    """Why the settings are refused, if they are."""
    try:
        config_of_huggingface(settings)
    except ModelError as error:
        return error
    return None


@pytest.mark.parametrize("family", BASES)
def test_the_settings_they_are_made_of_are_sound(family: str) -> None:
    """Every refusal below comes of the one change it makes."""
    assert isinstance(config_of_huggingface(BASES[family]), DecoderConfig)


@pytest.mark.parametrize(("family", "change", "named"), WRONG)
def test_a_wrong_setting_is_named(family: str, change: dict[str, Any], named: str) -> None:
    """``ModelFormatError`` that says which, with a hint."""
    with pytest.raises(ModelFormatError, match=named) as caught:
        config_of_huggingface(BASES[family] | change)
    assert caught.value.hint


@pytest.mark.parametrize(("family", "change", "named"), UNBUILT)
def test_what_is_not_built_is_named(family: str, change: dict[str, Any], named: str) -> None:
    """``UnsupportedModel``: the model is sound, and would give wrong numbers here."""
    with pytest.raises(UnsupportedModel, match=named) as caught:
        config_of_huggingface(BASES[family] | change)
    assert caught.value.hint


@pytest.mark.parametrize("family", BASES)
def test_a_missing_setting_is_named(family: str) -> None:
    """Whichever is left out: a sound model by the family's own default, or an error that says."""
    for key in BASES[family]:
        rest = {name: value for name, value in BASES[family].items() if name != key}
        if (error := refusal(rest)) is not None:
            assert key in error.message or key == "model_type"
            assert error.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(data=st.data(), family=st.sampled_from(sorted(BASES)))
def test_no_value_is_anything_but_settings_or_an_error(data: st.DataObject, family: str) -> None:
    """Any JSON in the place of any setting, or of a part of the scaling: never another error."""
    base = BASES[family]
    keys = sorted({*base, "rope_scaling", "rope_parameters", "head_dim", "layer_types"})
    if data.draw(st.booleans()):
        change = scaled(**{data.draw(st.sampled_from(sorted(SCALING))): data.draw(JSON)})
    else:
        change = {data.draw(st.sampled_from(keys)): data.draw(JSON)}
    error = refusal(base | change)
    assert error is None or error.hint


def test_an_output_matrix_that_is_said_to_be_there_must_be(tmp_path: Path) -> None:
    """A file without one is of shared embeddings only where its settings do not deny it."""
    small = OPENELM | {"vocab_size": 64, "num_transformer_layers": 1, "model_dim": 64}
    small |= {"num_query_heads": [4], "num_kv_heads": [1], "ffn_multipliers": [1.0]}
    small |= {"qkv_multipliers": 1.0, "head_dim": 16}
    tensors = {name: torch.ones(shape) for name, shape in openelm_shapes(small).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(small))
    load_decoder(tmp_path, context_tokens=8)
    (tmp_path / "config.json").write_text(json.dumps(small | {"share_input_output_layers": False}))
    with pytest.raises(ModelFormatError, match="share_input_output_layers") as caught:
        load_decoder(tmp_path, context_tokens=8)
    assert caught.value.hint


@pytest.mark.parametrize("change", [{"num_attention_heads": 2}, {"intermediate_size": 80}])
def test_sizes_other_than_the_files_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    """Settings that are sound and of another model: the tensors do not fit them."""
    folder = write_tiny_model(tmp_path / "tiny")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | change))
    with pytest.raises(ModelFormatError, match="shape"):
        load_decoder(folder, context_tokens=16)
