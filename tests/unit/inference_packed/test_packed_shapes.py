"""Whole passes and steps of the kernels over models of any shape, against the torch decoder."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inference.architectures import DecoderWeights
from inference.decoder import Decoder
from inference.formats.packed import GROUPS, PackedFile
from inference.formats.packed_source import PackedSource
from inference.kernels import Kernels
from inference.loading import Forms, build
from inference.packed_decoder import PackedDecoder
from inference.testing.random_packed import tiny_config, write_tiny_packed

CONTEXT = 64
# Activations, keys and values are in 8 bits: narrow models of random weights multiply that.
# `test_packed_decoder` holds chosen shapes to less.
ALLOWED = 0.2


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    """Changes of the tiny model: heads that share, widths that are no whole tiles, every family."""
    kv_heads = draw(st.integers(1, 3))
    return {
        "kv_heads": kv_heads,
        "heads": kv_heads * draw(st.sampled_from((1, 2, 3, 7))),
        "head_width": draw(st.sampled_from((16, 32, 48, 80))),
        "width": draw(st.integers(24, 140)),
        "ffn_width": draw(st.integers(24, 150)),
        "vocabulary": draw(st.integers(40, 130)),
        "window": draw(st.none() | st.integers(1, CONTEXT)),
        "qk_norm": draw(st.booleans()),
        "sandwich_norms": draw(st.booleans()),
        "activation": draw(st.sampled_from(("silu", "gelu_tanh"))),
    }


def reference(file: PackedFile) -> Decoder:
    weights = DecoderWeights.of_packed(PackedSource(file))
    forms, cpu = Forms.all("float32"), torch.device("cpu")
    return build(file.config, weights, forms, cpu, CONTEXT)


def apart(one: Tensor, other: Tensor) -> float:
    """Root mean square of the difference, of that of the values."""
    return float((one - other).norm() / other.norm())


@given(
    changes=shapes(),
    group=st.sampled_from(GROUPS),
    bias=st.booleans(),
    lengths=st.lists(st.integers(1, CONTEXT - 1), min_size=3, max_size=11),
    threads=st.sampled_from((1, 2, 3)),
    seed=st.integers(0, 1 << 16),
)
@settings(deadline=None, max_examples=15)
def test_passes_and_steps_are_those_of_the_weights(
    kernels: Kernels,
    changes: dict[str, Any],
    group: int,
    bias: bool,
    lengths: list[int],
    threads: int,
    seed: int,
) -> None:
    """Prompts of several lengths, then one step of all: near torch, and to the bit as alone."""
    config = tiny_config(**changes)
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_packed(Path(folder), config, group=group, bias=bias, seed=seed)
        file = PackedFile.open(path)
    random = np.random.default_rng(seed)
    prompts = [torch.from_numpy(random.integers(0, config.vocabulary, n)) for n in lengths]
    last = torch.from_numpy(random.integers(0, config.vocabulary, len(lengths)))
    plain = reference(file)
    theirs = [plain.new_cache(CONTEXT) for _ in lengths]
    read = [
        plain.forward(prompt, cache, all_logits=True).logits
        for prompt, cache in zip(prompts, theirs, strict=True)
    ]
    stepped = torch.cat([found.logits for found in plain.step(last, theirs)])
    for isa in kernels.available():
        model = PackedDecoder(file, kernels.with_isa(isa), context_tokens=CONTEXT, threads=threads)
        caches, alone = ([model.new_cache(n + 1) for n in lengths] for _ in range(2))
        logits = []
        for prompt, cache, other in zip(prompts, caches, alone, strict=True):
            logits.append(model.forward(prompt, cache, all_logits=True).logits)
            model.forward(prompt, other)
        assert apart(torch.cat(logits), torch.cat(read)) < ALLOWED
        found = model.step(last, caches)
        assert apart(torch.cat([row.logits for row in found]), stepped) < ALLOWED
        for row, other in enumerate(alone):
            one = model.forward(last[row : row + 1], other)
            assert torch.equal(one.logits, found[row].logits)
            assert torch.equal(one.hidden, found[row].hidden)
