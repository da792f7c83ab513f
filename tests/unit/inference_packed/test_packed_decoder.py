"""The whole forward pass of the kernels, against the torch decoder of the same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.architectures import DecoderConfig, DecoderWeights
from inference.decoder import Decoder, LanguageModel
from inference.formats.packed import PackedFile
from inference.formats.packed_source import PackedSource
from inference.kernels import Kernels
from inference.loading import Forms, build
from inference.packed_decoder import PackedDecoder, runs_compiled
from inference.testing.random_packed import tiny_config, write_tiny_packed
from lanai.errors import ContextOverflow, ModelFormatError, UsageError

CONTEXT = 96
# Activations, keys and values are in 8 bits; of a model of random weights that is about this much.
ALLOWED = 0.06

VARIATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one key head": {"heads": 6, "kv_heads": 1},
    "every head its own": {"heads": 3, "kv_heads": 3, "head_width": 32},
    "eight to one": {"heads": 8, "kv_heads": 1},
    "head norms": {"qk_norm": True},
    "norms behind": {"sandwich_norms": True},
    "window": {"window": 11},
    "gelu": {"activation": "gelu_tanh", "embedding_scale": 3.0, "query_scale": 0.2},
}


def reference(file: PackedFile) -> Decoder:
    return build(
        file.config,
        DecoderWeights.of_packed(PackedSource(file)),
        Forms.all("float32"),
        torch.device("cpu"),
        CONTEXT,
    )


def apart(one: Tensor, other: Tensor) -> float:
    """Standard deviation of the difference, of that of the values."""
    return float((one - other).std() / other.std())


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("group", [32, 64])
def test_logits_are_those_of_the_weights(
    kernels: Kernels, tmp_path: Path, name: str, group: int
) -> None:
    """Whole prompts, pieces and single tokens, on every instruction set, one thread or two."""
    config = tiny_config(**VARIATIONS[name])
    file = PackedFile.open(write_tiny_packed(tmp_path, config, group=group, bias=name == "plain"))
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, config.vocabulary, 60))
    plain = reference(file)
    expected = plain.forward(ids, plain.new_cache(CONTEXT), all_logits=True)
    for isa in kernels.available():
        for threads in (1, 2):
            decoder = PackedDecoder(
                file, kernels.with_isa(isa), context_tokens=CONTEXT, threads=threads
            )
            whole = decoder.forward(ids, decoder.new_cache(CONTEXT), all_logits=True)
            assert apart(whole.logits, expected.logits) < ALLOWED
            assert apart(whole.hidden, expected.hidden) < ALLOWED
            steps = in_steps(decoder, ids)
            assert apart(steps, expected.logits) < ALLOWED


def in_steps(decoder: PackedDecoder, ids: Tensor) -> Tensor:
    """Logits of every token, the ids given as 7, 1, 1, …, the rest."""
    cache = decoder.new_cache(CONTEXT)
    cuts = [7, *[1] * 20, len(ids) - 27]
    pieces = torch.split(ids, cuts)
    return torch.cat([decoder.forward(p, cache, all_logits=True).logits for p in pieces])


def test_long_prompts_go_in_blocks(
    kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of more rows than the scratch memory holds gives the same logits."""
    file = PackedFile.open(write_tiny_packed(tmp_path, tiny_config()))
    ids = torch.arange(50) % 83
    whole = PackedDecoder(file, kernels, context_tokens=CONTEXT, threads=2)
    monkeypatch.setattr("inference.kernels.plan.MAX_ROWS", 8)
    blocks = PackedDecoder(file, kernels, context_tokens=CONTEXT, threads=2)
    one, other = (
        decoder.forward(ids, decoder.new_cache(CONTEXT), all_logits=True)
        for decoder in (whole, blocks)
    )
    assert apart(one.logits, other.logits) < 1e-2
    last = blocks.forward(ids, blocks.new_cache(CONTEXT))
    assert torch.allclose(last.logits[0], other.logits[-1], atol=1e-3)


@pytest.fixture
def decoder(kernels: Kernels, tmp_path: Path) -> PackedDecoder:
    file = PackedFile.open(write_tiny_packed(tmp_path, tiny_config()))
    return PackedDecoder(file, kernels, context_tokens=20, threads=1)


def test_a_full_cache_is_said_so(decoder: PackedDecoder) -> None:
    """``ContextOverflow`` with numbers; the cache is as it was."""
    cache = decoder.new_cache(5)
    decoder.forward(torch.arange(4), cache)
    with pytest.raises(ContextOverflow) as caught:
        decoder.forward(torch.arange(2), cache)
    assert (caught.value.limit, caught.value.used, cache.length) == (5, 6, 4)
    decoder.forward(torch.arange(1), cache)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(torch.tensor([83]), id="beyond the vocabulary"),
        pytest.param(torch.tensor([-1]), id="negative"),
        pytest.param(torch.tensor([], dtype=torch.int64), id="none"),
        pytest.param(torch.tensor([1.0]), id="no integers"),
        pytest.param(torch.tensor([[1]]), id="two dimensions"),
    ],
)
def test_ids_that_are_no_tokens_are_refused(decoder: PackedDecoder, ids: Tensor) -> None:
    """``UsageError``, and nothing is stored."""
    cache = decoder.new_cache(5)
    with pytest.raises(UsageError):
        decoder.forward(ids, cache)
    assert cache.length == 0


def test_numpy_gives_what_torch_gives(decoder: PackedDecoder, tmp_path: Path) -> None:
    """``predict`` and ``predict_each`` are ``forward`` and ``forward_each``, to the last bit."""
    plain = reference(PackedFile.open(write_tiny_packed(tmp_path / "other", tiny_config())))
    models: list[LanguageModel] = [decoder, plain]
    ids = torch.arange(3, 9)
    for model in models:
        one, other = model.new_cache(20), model.new_cache(20)
        expected = model.forward(ids, one)
        logits, hidden = model.predict(ids.numpy(), other)
        assert np.array_equal(logits, expected.logits.numpy())
        assert np.array_equal(hidden, expected.hidden.numpy())
        each = model.predict_each(ids[:3].numpy(), other)
        assert np.array_equal(each, model.forward_each(ids[:3], one).numpy())
        assert one.length == other.length == 9


def test_a_prediction_belongs_to_its_caller(decoder: PackedDecoder) -> None:
    """The next pass leaves it as it is, and ids that lie apart in memory are read as they are."""
    cache, ids = decoder.new_cache(20), np.arange(12)
    first, _ = decoder.predict(ids[::2], cache)
    kept = first.copy()
    decoder.predict(ids[:3], cache)
    assert np.array_equal(first, kept)
    again, _ = decoder.predict(ids[::2].copy(), decoder.new_cache(20))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("tokens", [0, -1, 21])
def test_a_cache_beyond_the_context_is_refused(decoder: PackedDecoder, tokens: int) -> None:
    """``UsageError``."""
    with pytest.raises(UsageError):
        decoder.new_cache(tokens)


def test_a_wiped_cache_holds_nothing(decoder: PackedDecoder) -> None:
    """Keys, values and the decoder's own memory of the last step are zero; it starts anew."""
    cache = decoder.new_cache(20)
    first = decoder.forward(torch.arange(9), cache).logits
    assert any(rows.any() for rows in cache.rows)
    cache.wipe()
    assert not any(rows.any() for rows in cache.rows)
    assert not decoder.scratch.any()
    assert torch.equal(decoder.forward(torch.arange(9), cache).logits, first)


def test_a_cache_can_be_taken_back(decoder: PackedDecoder) -> None:
    """Setting ``length`` back forgets what came after: choices share their context so."""
    cache = decoder.new_cache(20)
    decoder.forward(torch.arange(6), cache)
    first = decoder.forward(torch.tensor([7, 8]), cache).logits
    cache.length = 6
    decoder.forward(torch.tensor([50, 51, 52]), cache)
    cache.length = 6
    assert torch.equal(decoder.forward(torch.tensor([7, 8]), cache).logits, first)


def test_a_file_that_lacks_a_matrix_is_refused(kernels: Kernels, tmp_path: Path) -> None:
    """A sound file whose matrices are not those of its settings is a ``ModelFormatError``."""
    from inference.formats.packed import write_packed

    file = PackedFile.open(write_tiny_packed(tmp_path, tiny_config()))
    for missing in ("layers.1.down", "embedding"):
        kept = {name: m for name, m in file.matrices.items() if name != missing}
        write_packed(tmp_path / "less", file.config, file.group, kept, file.vectors)
        with pytest.raises(ModelFormatError, match=missing):
            PackedDecoder(PackedFile.open(tmp_path / "less"), kernels, context_tokens=8, threads=1)
    vectors = {name: v for name, v in file.vectors.items() if name != "final_norm"}
    write_packed(tmp_path / "less", file.config, file.group, file.matrices, vectors)
    with pytest.raises(ModelFormatError, match="final_norm"):
        PackedDecoder(PackedFile.open(tmp_path / "less"), kernels, context_tokens=8, threads=1)


@pytest.mark.parametrize(
    "factors", [np.zeros(8), np.ones(3), np.ones(1), np.full(8, 1e-45)], ids=str
)
def test_rotary_factors_that_give_no_angles_are_refused(
    kernels: Kernels, tmp_path: Path, factors: NDArray[np.float64]
) -> None:
    """Of another number, or so small that they divide to infinity: ``ModelFormatError``."""
    from inference.formats.packed import write_packed

    file = PackedFile.open(write_tiny_packed(tmp_path / "whole", tiny_config()))
    vectors = {**file.vectors, "rope_factors": factors.astype(np.float32)}
    write_packed(tmp_path / "lying", file.config, file.group, file.matrices, vectors)
    lying = PackedFile.open(tmp_path / "lying")
    with pytest.raises(ModelFormatError, match="factors"):
        PackedDecoder(lying, kernels, context_tokens=8, threads=1)
    with pytest.raises(ModelFormatError, match="factors"):
        reference(lying)


def test_what_the_kernels_do_not_run_goes_to_torch() -> None:
    """Heads that are no whole vectors."""
    assert runs_compiled(tiny_config())
    assert not runs_compiled(tiny_config(head_width=8))


def test_content_is_not_shown(decoder: PackedDecoder) -> None:
    """``repr`` of decoder and cache: sizes and names."""
    cache = decoder.new_cache(20)
    decoder.forward(torch.arange(3), cache)
    assert repr(cache) == "<packed cache: 3 of 20 tokens>"
    assert "logits" not in repr(decoder.forward(torch.arange(1), cache))
    assert isinstance(decoder.config, DecoderConfig)
