"""What a model gives with adapters on: that of the matrices changed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.adapters import PARTS, Adapter
from inference.architectures import DecoderConfig, DecoderWeights
from inference.decoder import Decoder
from inference.decoder_runner import DecoderRunner
from inference.formats.packed import PackedFile
from inference.formats.packed_source import PackedSource
from inference.kernels import Kernels
from inference.kernels.adapter_plan import AdapterPlan
from inference.loading import Forms, build
from inference.matrix import Matrix, PlainMatrix
from inference.packed_decoder import PackedDecoder
from inference.testing.random_adapter import random_adapter
from inference.testing.random_packed import tiny_config, write_tiny_packed
from lanai.errors import UsageError

CONTEXT = 64
# Activations, keys and values are in 8 bits; see inference_packed. An adapter adds its own 8 bits.
ALLOWED = 0.07


class Changed:
    """The weights of a packed file with adapters added to its matrices, in float32."""

    def __init__(self, file: PackedFile, adapters: tuple[Adapter, ...]) -> None:
        self._source = PackedSource(file)
        self._adapters = adapters

    def has(self, name: str) -> bool:
        return self._source.has(name)

    def vector(self, name: str) -> Tensor:
        return self._source.vector(name)

    def matrix(self, name: str) -> Matrix:
        dense = self._source.matrix(name).dense()
        for adapter in self._adapters:
            if (pair := adapter.matrices.get(name)) is not None:
                dense = dense + adapter.scale * torch.from_numpy(pair.b @ pair.a)
        return PlainMatrix.of(dense)


def by_hand(file: PackedFile, *adapters: Adapter) -> Decoder:
    weights = DecoderWeights.of_packed(Changed(file, adapters))
    return build(file.config, weights, Forms.all("float32"), torch.device("cpu"), CONTEXT)


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).std() / other.std())


def ids_of(config: DecoderConfig, count: int = 40) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, config.vocabulary, count))


def logits(decoder: Any, ids: Tensor, adapter: Any = None, *, cuts: tuple[int, ...] = ()) -> Tensor:
    cache = decoder.new_cache(CONTEXT)
    pieces = torch.split(ids, [*cuts, len(ids) - sum(cuts)])
    return torch.cat(
        [decoder.forward(p, cache, all_logits=True, adapter=adapter).logits for p in pieces]
    )


VARIATIONS: dict[str, dict[str, Any]] = {
    "plain": {"rank": 4},
    "head norms": {"qk_norm": True, "rank": 16},
    "one key head": {"heads": 6, "kv_heads": 1, "rank": 40},
    "attention alone": {"rank": 5, "parts": ("q", "k", "v", "output")},
    "two parts": {"rank": 17, "parts": ("v", "down"), "window": 11},
    "gelu": {"activation": "gelu_tanh", "rank": 8, "parts": ("gate", "output")},
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_kernels_run_what_the_matrices_say(kernels: Kernels, tmp_path: Path, name: str) -> None:
    """Prompts, pieces and single tokens, on every instruction set, one thread or two."""
    changes = dict(VARIATIONS[name])
    rank, parts = changes.pop("rank"), changes.pop("parts", PARTS)
    config = tiny_config(**changes)
    file = PackedFile.open(write_tiny_packed(tmp_path, config))
    adapter = random_adapter(config, rank=rank, alpha=3.0, parts=parts)
    ids = ids_of(config)
    expected = logits(by_hand(file, adapter), ids)
    assert apart(logits(by_hand(file), ids), expected) > 5 * ALLOWED
    for isa in kernels.available():
        for threads in (1, 2):
            decoder = PackedDecoder(
                file, kernels.with_isa(isa), context_tokens=CONTEXT, threads=threads
            )
            ready = decoder.adapted(adapter)
            assert apart(logits(decoder, ids, ready), expected) < ALLOWED
            steps = logits(decoder, ids, ready, cuts=(9, *[1] * 6))
            assert apart(steps, expected) < ALLOWED


@pytest.fixture
def packed(tmp_path: Path) -> PackedFile:
    return PackedFile.open(write_tiny_packed(tmp_path, tiny_config(qk_norm=True, window=11)))


def test_two_adapters_add_up(kernels: Kernels, packed: PackedFile) -> None:
    """One that is always on and a request's own, of different ranks and parts."""
    one = random_adapter(packed.config, rank=3, seed=1, strength=0.7)
    two = random_adapter(packed.config, rank=20, seed=2, strength=0.7, parts=("q", "up", "down"))
    ids = ids_of(packed.config)
    expected = logits(by_hand(packed, one, two), ids)
    plain = by_hand(packed)
    plain.keep_on(one)
    torch.testing.assert_close(
        logits(plain, ids, plain.adapted(two)), expected, rtol=1e-3, atol=1e-4
    )
    for isa in kernels.available():
        decoder = PackedDecoder(packed, kernels.with_isa(isa), context_tokens=CONTEXT, threads=2)
        decoder.keep_on(one)
        assert apart(logits(decoder, ids), logits(by_hand(packed, one), ids)) < ALLOWED
        assert apart(logits(decoder, ids, decoder.adapted(two)), expected) < ALLOWED


def test_torch_runs_what_the_matrices_say(packed: PackedFile) -> None:
    """In float32 to rounding: whole prompts, single tokens, rows of several sequences."""
    adapter = random_adapter(packed.config, rank=7, alpha=2.0)
    ids = ids_of(packed.config, 12)
    expected = logits(by_hand(packed, adapter), ids)
    plain = by_hand(packed)
    ready = plain.adapted(adapter)
    for cuts in ((), (5, 1, 1, 1)):
        found = logits(plain, ids, ready, cuts=cuts)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    caches = [plain.new_cache(CONTEXT) for _ in range(3)]
    for cache in caches:
        plain.forward(ids[:11], cache, adapter=ready)
    for row in plain.step(ids[11:].repeat(3), caches, adapter=ready):
        torch.testing.assert_close(row.logits[0], expected[-1], rtol=1e-3, atol=1e-4)


def test_swapping_leaves_nothing_behind(kernels: Kernels, packed: PackedFile) -> None:
    """Passes with one adapter, another and none, in turns, are each what they are alone."""
    decoder = PackedDecoder(packed, kernels, context_tokens=CONTEXT, threads=1)
    ids = ids_of(packed.config, 9)
    kinds: list[AdapterPlan | None] = [
        None,
        decoder.adapted(random_adapter(packed.config, rank=2, seed=1)),
        decoder.adapted(random_adapter(packed.config, rank=33, seed=2)),
    ]
    first = [logits(decoder, ids, kind) for kind in kinds]
    assert apart(first[1], first[0]) > 0.1
    for _ in range(2):
        for kind, before in zip(kinds, first, strict=True):
            assert torch.equal(logits(decoder, ids, kind), before)


def test_a_wipe_reaches_what_adapters_computed(kernels: Kernels, packed: PackedFile) -> None:
    """`A x` is made from content: it is zero after a wipe."""
    decoder = PackedDecoder(packed, kernels, context_tokens=CONTEXT, threads=1)
    cache = decoder.new_cache(CONTEXT)
    decoder.forward(
        ids_of(packed.config), cache, adapter=decoder.adapted(random_adapter(packed.config))
    )
    assert decoder.lifting.room.any()
    cache.wipe()
    assert not decoder.lifting.room.any()


def test_three_adapters_at_once_are_refused(kernels: Kernels, packed: PackedFile) -> None:
    """``UsageError``: the kernels have room for two."""
    decoder = PackedDecoder(packed, kernels, context_tokens=CONTEXT, threads=1)
    plans = [decoder.adapted(random_adapter(packed.config, seed=seed)) for seed in range(3)]
    with pytest.raises(UsageError):
        decoder.lifting.argument(plans)


class Ready:
    """Adapters by name, as ``AdapterMemory`` gives them."""

    def __init__(self, decoder: Decoder, adapters: dict[str, Adapter]) -> None:
        self._ready = {name: decoder.adapted(each) for name, each in adapters.items()}

    def get(self, name: str) -> Any:
        return self._ready[name]


def test_requests_of_one_step_may_have_different_adapters(packed: PackedFile) -> None:
    """Rows are grouped; each is what it would be alone."""
    decoder = by_hand(packed)
    adapters = {name: random_adapter(packed.config, seed=at) for at, name in enumerate("ab")}
    runner = DecoderRunner(decoder, Ready(decoder, adapters))  # type: ignore[arg-type]
    ids = np.arange(8, dtype=np.int32)
    asked = (None, "a", "b", "a", None)

    def begun(name: str | None) -> Any:
        slot = runner.begin(20, 4, name)
        slot.forward(ids)
        return slot

    last = np.array([1, 2, 3, 4, 5], dtype=np.int32)
    together = runner.step([begun(name) for name in asked], last)
    for row, name in enumerate(asked):
        (alone,) = runner.step([begun(name)], last[row : row + 1])
        np.testing.assert_allclose(together[row].logits, alone.logits, rtol=1e-3, atol=1e-3)
