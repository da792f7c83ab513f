"""The OpenELM family with random weights: the published settings, folders of any member.

``python -m inference.testing.random_openelm OpenELM-270M FOLDER`` writes one that loads, packs and
is measured like the real one. Settings: the ``config.json`` files of apple/OpenELM on Hugging Face
and Mehta et al. 2024 (arXiv 2404.14619). A model tuned to instructions has those of its base.
"""

import json
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from string import ascii_letters, ascii_lowercase, digits, punctuation
from typing import Any, Final

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from inference.architectures import config_of_huggingface

__all__ = ["MEMBERS", "openelm_settings", "openelm_shapes", "write_random_openelm"]

# Layers, width, head width, (layers, query heads) of each run of equal layers.
_SIZES: Final[Mapping[str, tuple[int, int, int, tuple[tuple[int, int], ...]]]] = {
    "270M": (16, 1280, 64, ((5, 12), (7, 16), (4, 20))),
    "450M": (20, 1536, 64, ((3, 12), (7, 16), (6, 20), (4, 24))),
    "1_1B": (28, 2048, 64, ((3, 16), (7, 20), (8, 24), (6, 28), (4, 32))),
    "3B": (36, 3072, 128, ((4, 12), (14, 16), (12, 20), (6, 24))),
}
MEMBERS: Final = tuple(f"OpenELM-{size}{kind}" for size, kind in product(_SIZES, ("", "-Instruct")))
_GROUPS: Final = 4
_SPREAD: Final = 0.02  # initializer_range


def openelm_settings(member: str) -> dict[str, Any]:
    """``config.json`` of one of ``MEMBERS``, with a number for each layer."""
    layers, width, head, runs = _SIZES[member.removeprefix("OpenELM-").removesuffix("-Instruct")]
    heads = [count for times, count in runs for _ in range(times)]
    return {
        "activation_fn_name": "swish",
        "architectures": ["OpenELMForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "ffn_dim_divisor": 256,
        "ffn_multipliers": [round(0.5 + 3.5 * i / (layers - 1), 2) for i in range(layers)],
        "ffn_with_glu": True,
        "head_dim": head,
        "initializer_range": _SPREAD,
        "max_context_length": 2048,
        "model_dim": width,
        "model_type": "openelm",
        "normalization_layer_name": "rms_norm",
        "normalize_qk_projections": True,
        "num_gqa_groups": _GROUPS,
        "num_kv_heads": [count // _GROUPS for count in heads],
        "num_query_heads": heads,
        "num_transformer_layers": layers,
        "qkv_multipliers": [0.5, 1.0],
        "rope_freq_constant": 10000,
        "rope_max_length": 4096,
        "share_input_output_layers": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": 32000,
    }


def openelm_shapes(settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensors of the file by name: queries, keys and values in one, gate and up in another."""
    config = config_of_huggingface(settings)
    width = config.width
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.token_embeddings.weight": (config.vocabulary, width),
        "transformer.norm.weight": (width,),
    }
    if not settings["share_input_output_layers"]:
        shapes["lm_head.weight"] = (config.vocabulary, width)
    for layer, shape in enumerate(config.shapes):
        parts: dict[str, tuple[int, ...]] = {
            "attn.qkv_proj": (shape.attention_width + 2 * shape.kv_width, width),
            "attn.q_norm": (shape.head_width,),
            "attn.k_norm": (shape.head_width,),
            "attn.out_proj": (width, shape.attention_width),
            "attn_norm": (width,),
            "ffn_norm": (width,),
            "ffn.proj_1": (2 * shape.ffn_width, width),
            "ffn.proj_2": (width, shape.ffn_width),
        }
        shapes |= {f"transformer.layers.{layer}.{name}.weight": of for name, of in parts.items()}
    return shapes


def write_random_openelm(
    folder: Path, settings: Mapping[str, Any], *, seed: int = 7, spread: float = _SPREAD
) -> Path:
    """Write a Hugging Face folder in bfloat16, with a tokenizer in the form of LLaMA's.

    ``spread``: standard deviation of the weights; norms are 1 and a fifth of noise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in openelm_shapes(settings).items():
        noise = torch.randn(shape, generator=random)
        values = noise * spread if len(shape) == 2 else 1 + 0.2 * noise
        tensors[name] = values.bfloat16()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(settings["vocab_size"]).save(str(folder / "tokenizer.json"))
    said = {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    for file, value in (("config", settings), ("tokenizer_config", said)):
        (folder / f"{file}.json").write_text(json.dumps(value, indent=2), encoding="utf-8")
    return folder


def _tokenizer(size: int) -> Tokenizer:
    """Pairs of bytes as LLaMA's: three control tokens, 256 bytes, then pieces with ``▁``."""
    letters = ["▁", *ascii_letters, *digits, *punctuation]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges: list[tuple[str, str]] = []
    pairs = [(a, b) for a, b in product(["▁", *ascii_lowercase], ascii_lowercase)]
    joined = ["".join(pair) for pair in pairs]
    for one, other in (*pairs, *product(joined, joined[len(ascii_lowercase) :])):
        if len(tokens) >= size:
            break
        tokens.append(one + other)
        merges.append((one, other))
    ids = {token: rank for rank, token in enumerate(tokens[:size])}
    tokenizer = Tokenizer(
        models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)  # noqa: S106
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in tokens[:3]]
    )
    return tokenizer


if __name__ == "__main__":
    write_random_openelm(Path(sys.argv[2]), openelm_settings(sys.argv[1]))
