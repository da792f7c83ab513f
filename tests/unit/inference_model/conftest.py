"""Small models with random weights, written by the packages whose formats they are in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

WIDTH, HEADS, KV_HEADS, LAYERS, FFN, VOCABULARY = 64, 4, 2, 2, 96, 48


def tiny_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """A Llama with query and key rows as Hugging Face orders them, by GGUF names."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0, 0.2, shape).astype(np.float32)

    kv = WIDTH // HEADS * KV_HEADS
    weights = {
        "token_embd.weight": normal(VOCABULARY, WIDTH),
        "output_norm.weight": 1 + normal(WIDTH),
    }
    for layer in range(LAYERS):
        weights |= {
            f"blk.{layer}.attn_norm.weight": 1 + normal(WIDTH),
            f"blk.{layer}.attn_q.weight": normal(WIDTH, WIDTH),
            f"blk.{layer}.attn_k.weight": normal(kv, WIDTH),
            f"blk.{layer}.attn_v.weight": normal(kv, WIDTH),
            f"blk.{layer}.attn_output.weight": normal(WIDTH, WIDTH),
            f"blk.{layer}.ffn_norm.weight": 1 + normal(WIDTH),
            f"blk.{layer}.ffn_gate.weight": normal(FFN, WIDTH),
            f"blk.{layer}.ffn_up.weight": normal(FFN, WIDTH),
            f"blk.{layer}.ffn_down.weight": normal(WIDTH, FFN),
        }
    return weights


def paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row order of GGUF's Llama files: the two halves of a head interleaved."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def write_gguf(
    path: Path, weights: dict[str, np.ndarray], type_: GGMLQuantizationType | None = None
) -> Path:
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_token_list([f"t{rank}" for rank in range(VOCABULARY)])
    for name, values in weights.items():
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name.split(".")[-2])
        stored = paired(values, heads) if heads else values
        if type_ is not None and stored.ndim == 2:
            writer.add_tensor(name, quantize(stored, type_), raw_dtype=type_)
        else:
            writer.add_tensor(name, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def gguf_model(tmp_path: Path) -> Path:
    """A tiny float32 Llama."""
    return write_gguf(tmp_path / "tiny.gguf", tiny_weights())


@pytest.fixture
def make_gguf(tmp_path: Path) -> Callable[..., Path]:
    """``make_gguf(change, type_=None)`` writes the tiny Llama after ``change(weights)``."""

    def make(
        change: Callable[[dict[str, np.ndarray]], object] = lambda weights: None,
        type_: GGMLQuantizationType | None = None,
    ) -> Path:
        weights = tiny_weights()
        change(weights)
        return write_gguf(tmp_path / "changed.gguf", weights, type_)

    return make
