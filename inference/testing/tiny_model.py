"""A whole model of 50 thousand random weights: loads in a moment, and runs like any other."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

__all__ = ["TINY_VOCABULARY", "write_tiny_model"]

TINY_VOCABULARY: Final = 288  # 256 bytes, the control tokens, padding
CONTROL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WIDTH: Final = 32
LAYERS: Final = 2
MAX_CONTEXT: Final = 4096
TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_tiny_model(folder: Path, *, seed: int = 7) -> Path:
    """Write a Hugging Face folder: a Llama of two layers and a tokenizer of single bytes.

    The same seed writes the same weights. The answers are noise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    tensors = {
        name: (random.standard_normal(shape) * 0.3).astype(np.float32)
        for name, shape in _shapes().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer().save(str(folder / "tokenizer.json"))
    for name, value in (("config", _config()), ("tokenizer_config", _tokenizer_config())):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2), encoding="utf-8")
    return folder


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (TINY_VOCABULARY, WIDTH),
        "lm_head.weight": (TINY_VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}{norm}.weight"] = (WIDTH,)
        for name, rows in (("q", WIDTH), ("k", WIDTH // 2), ("v", WIDTH // 2), ("o", WIDTH)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, WIDTH)
        wide = 2 * WIDTH
        for name, shape in (
            ("gate", (wide, WIDTH)),
            ("up", (wide, WIDTH)),
            ("down", (WIDTH, wide)),
        ):
            shapes[f"{prefix}mlp.{name}_proj.weight"] = shape
    return shapes


def _config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": TINY_VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "eos_token_id": 258,
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": CONTROL[0],
        "eos_token": CONTROL[2],
        "chat_template": TEMPLATE,
    }


def _tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    return tokenizer
