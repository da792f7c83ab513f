"""A few tokens in one pass are computed as one after the other, to the last bit, or not guessed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.decoder import LanguageModel, load_decoder
from inference.decoder_runner import DecoderRunner
from inference.engine import Finished, GenerateOptions, Sampling, Token
from inference.formats.packed import PackedFile
from inference.kernels import Kernels, load_kernels
from inference.packed_decoder import PackedDecoder
from inference.same_rows import MOST_ROWS, rows_alike
from inference.scheduler import Scheduler
from inference.testing.random_packed import tiny_config, write_tiny_packed

CONTEXT = 96
VARIATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one key head": {"heads": 6, "kv_heads": 1},
    "every head its own": {"heads": 3, "kv_heads": 3, "head_width": 32},
    "window": {"window": 11},
    "gelu": {"activation": "gelu_tanh", "embedding_scale": 3.0, "query_scale": 0.2},
}


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    found = load_kernels()
    assert found is not None, "the kernels are not built: pip install -e ."
    return found


def every(kernels: Kernels) -> list[Kernels]:
    return [kernels.with_isa(isa) for isa in kernels.available()]


def packed(folder: Path, kernels: Kernels, *, threads: int = 2, **changes: Any) -> PackedDecoder:
    file = PackedFile.open(write_tiny_packed(folder, tiny_config(**changes), group=32))
    return PackedDecoder(file, kernels, context_tokens=CONTEXT, threads=threads)


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_kernels_row_does_not_depend_on_the_others(
    kernels: Kernels, tmp_path: Path, name: str, threads: int
) -> None:
    """Of up to four rows, behind any number of tokens, rejected ones overwritten in between."""
    for each in every(kernels):
        model = packed(tmp_path / each.isa, each, threads=threads, **VARIATIONS[name])
        check_rows(model)


def check_rows(model: PackedDecoder) -> None:
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, model.config.vocabulary, CONTEXT))
    alone, together = model.new_cache(CONTEXT), model.new_cache(CONTEXT)
    expected = [model.forward(each[None], alone).logits for each in ids]
    at = 0
    while at + MOST_ROWS < CONTEXT:
        rows = 1 + at % MOST_ROWS
        wrong = (ids[at : at + rows] + 1) % model.config.vocabulary
        model.forward_each(wrong, together)
        together.take_back(rows)
        found = model.forward_each(ids[at : at + rows], together)
        assert torch.equal(found, torch.cat(expected[at : at + rows]))
        at += rows


def test_the_kernels_pass_the_trial(kernels: Kernels, tmp_path: Path) -> None:
    """So a packed model speculates."""
    for each in every(kernels):
        assert rows_alike(packed(tmp_path / each.isa, each))


def tokens(model: LanguageModel, sampling: Sampling, *, on: bool) -> tuple[list[int], Finished]:
    random = np.random.default_rng(3).integers(0, model.config.vocabulary, 9)
    prompt = np.concatenate([random, random, random]).astype(np.int32)
    scheduler = Scheduler(DecoderRunner(model), speculation=on)
    options = GenerateOptions(max_tokens=60, sampling=sampling, speculation=True)
    scheduler.submit("it", prompt, options)
    events: list[Any] = []
    while not scheduler.idle:
        events.extend(event for _, event in scheduler.step())
    return [each.id for each in events if isinstance(each, Token)], events[-1]


SAMPLINGS = [Sampling(), Sampling(temperature=0.8, seed=3), Sampling(temperature=2.0, seed=4)]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_answers_of_a_packed_model_are_the_same(
    kernels: Kernels, tmp_path: Path, sampling: Sampling
) -> None:
    """With every instruction set, with guesses."""
    for isa in kernels.available():
        model = packed(tmp_path / isa, kernels.with_isa(isa))
        plain, _ = tokens(model, sampling, on=False)
        guessed, finished = tokens(model, sampling, on=True)
        assert guessed == plain
        assert sampling.temperature or finished.drafted


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_answers_of_a_torch_model_are_the_same(tiny_model: Path, sampling: Sampling) -> None:
    """Whether the trial lets it speculate or not."""
    model = load_decoder(tiny_model, context_tokens=CONTEXT)
    assert tokens(model, sampling, on=True)[0] == tokens(model, sampling, on=False)[0]


def test_a_torch_cache_forgets_what_is_taken_back(tiny_model: Path) -> None:
    """What follows is as if it had not been there."""
    model = load_decoder(tiny_model, context_tokens=CONTEXT, precision="float32")
    ids = torch.arange(20)
    one, other = model.new_cache(CONTEXT), model.new_cache(CONTEXT)
    for cache in (one, other):
        model.forward(ids[:8], cache)
    model.forward_each(ids[15:19], other)
    other.take_back(4)
    assert torch.equal(model.forward_each(ids[8:11], one), model.forward_each(ids[8:11], other))


class Uneven:
    """A model whose rows depend on how many there are."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward_each(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        found = self._model.forward_each(ids, cache)
        found[-1, 0] = torch.nextafter(found[-1, 0], torch.tensor(torch.inf))
        return found


def test_a_model_that_is_a_bit_off_does_not_speculate(tmp_path: Path, kernels: Kernels) -> None:
    """One last bit is enough."""
    uneven: Any = Uneven(packed(tmp_path, kernels))
    assert not rows_alike(uneven)
    assert tokens(uneven, Sampling(), on=True)[1].drafted == 0
