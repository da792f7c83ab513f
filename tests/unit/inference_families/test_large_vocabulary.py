"""A vocabulary of 100,000 tokens: loaded, packed, guided and served, with random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from inference.architectures import DecoderWeights
from inference.decoder import load_decoder
from inference.engine import GenerateOptions, Token
from inference.formats.packed import PackedFile
from inference.formats.packed_source import PackedSource
from inference.kernels import Kernels
from inference.loading import Forms, build
from inference.packed_decoder import PackedDecoder
from inference.process import ProcessEngine
from inference.testing.random_openelm import openelm_settings, write_random_openelm
from inference.testing.random_packed import tiny_config, write_tiny_packed
from inference.text import load_text_model

TOKENS = 100_000
LAST = torch.tensor([TOKENS - 1, 0, 65_535, 65_536, TOKENS - 2])  # 16 bits would wrap

SETTINGS: dict[str, Any] = openelm_settings("OpenELM-270M") | {
    "vocab_size": TOKENS,
    "model_dim": 32,
    "head_dim": 16,
    "num_gqa_groups": 1,
    "num_transformer_layers": 2,
    "ffn_dim_divisor": 16,
    "num_query_heads": None,
    "num_kv_heads": None,
    "ffn_multipliers": [1.0, 2.0],
}


def test_logits_of_every_token_are_the_familys(tmp_path: Path) -> None:
    """The last ids are embedded and given their own logits, in torch."""
    torch.manual_seed(5)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=TOKENS,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.3,
        )
    )
    model.save_pretrained(tmp_path)
    decoder = load_decoder(tmp_path, context_tokens=16, precision="float32")
    with torch.no_grad():
        expected = model(LAST[None]).logits[0]
    found = decoder.forward(LAST, decoder.new_cache(16), all_logits=True).logits
    assert found.shape == (5, TOKENS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_kernels_reach_every_token(kernels: Kernels, tmp_path: Path) -> None:
    """Packed: 100,000 rows of 8 bits are the embeddings and the head, to 8-bit accuracy."""
    file = PackedFile.open(write_tiny_packed(tmp_path / "p", tiny_config(vocabulary=TOKENS)))
    weights = DecoderWeights.of_packed(PackedSource(file))
    plain = build(file.config, weights, Forms.all("float32"), torch.device("cpu"), 16)
    packed = PackedDecoder(file, kernels, context_tokens=16, threads=2)
    expected = plain.forward(LAST, plain.new_cache(16), all_logits=True).logits
    found = packed.forward(LAST, packed.new_cache(16), all_logits=True).logits
    assert float((found - expected).std() / expected.std()) < 0.06
    ends = slice(TOKENS - 40, TOKENS)
    assert float((found[:, ends] - expected[:, ends]).std() / expected.std()) < 0.06


class Only:
    """Allows a single token."""

    def __init__(self, token: int) -> None:
        self._mask = np.zeros(-(-TOKENS // 32), np.uint32)
        self._mask[token // 32] = 1 << token % 32

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32]:
        return self._mask


async def test_a_constraint_over_all_tokens_is_kept(tmp_path: Path) -> None:
    """The engine's child takes a mask of 100,000 bits for each step and samples inside it."""
    folder = write_random_openelm(tmp_path / "elm", SETTINGS)
    text = load_text_model(folder)
    assert text.vocabulary == TOKENS
    assert max(text.encode("zebras quizzed a quick fox")) < TOKENS
    engine = await ProcessEngine.start(folder, context_tokens=64, threads=1)
    try:
        assert engine.info.vocabulary == TOKENS
        prompt = LAST.tolist()
        stream = engine.submit(prompt, GenerateOptions(max_tokens=3), constraint=Only(TOKENS - 1))
        found = [event.id async for event in stream if isinstance(event, Token)]
        assert found == [TOKENS - 1] * 3
    finally:
        await engine.close()
