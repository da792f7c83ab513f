"""One token of each of several sequences in one call of the kernels: as each alone, to the bit."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.decoder_runner import DecoderRunner
from inference.formats.packed import PackedFile
from inference.kernels import Kernels, structures
from inference.packed_decoder import PackedCache, PackedDecoder
from inference.testing.random_adapter import random_adapter
from inference.testing.random_packed import tiny_config, write_tiny_packed
from lanai.errors import ContextOverflow, LanaiError, UsageError

CONTEXT = 96
MOST = 20  # rows: more than are ever few, and no whole number of blocks
Ids = NDArray[np.int64]

GEMMA = {
    "heads": 4,
    "kv_heads": 1,
    "head_width": 32,
    "window": 9,
    "sandwich_norms": True,
    "qk_norm": True,
    "activation": "gelu_tanh",
    "embedding_scale": 8.0,
    "query_scale": 0.2,
}
VARIATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "six heads to one": {"heads": 6, "kv_heads": 1},
    "every head its own": {"heads": 3, "kv_heads": 3, "head_width": 32},
    "gemma": GEMMA,
}


def made(folder: Path, kernels: Kernels, *, threads: int = 1, **changes: Any) -> PackedDecoder:
    file = PackedFile.open(write_tiny_packed(folder, tiny_config(**changes)))
    return PackedDecoder(file, kernels, context_tokens=CONTEXT, threads=threads)


def drawn(model: PackedDecoder, seed: int, count: int) -> Ids:
    return np.random.default_rng(seed).integers(0, model.config.vocabulary, count)


def begun(model: PackedDecoder, count: int, seed: int = 0) -> list[PackedCache]:
    """Of different lengths and capacities; the first row's is the same for every seed."""
    caches = []
    for row in range(count):
        held = np.random.default_rng([seed if row else 0, row])
        length = int(held.integers(1, 70))
        caches.append(model.new_cache(int(held.integers(length + 4, CONTEXT + 1))))
        model.predict(drawn(model, seed * row, length), caches[row])
    return caches


def same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(one).all()) and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_is_what_it_is_alone(
    kernels: Kernels, tmp_path: Path, name: str, threads: int
) -> None:
    """Any number of them, several steps, on every instruction set, with adapters and without."""
    for isa in kernels.available():
        model = made(tmp_path / isa, kernels.with_isa(isa), threads=threads, **VARIATIONS[name])
        model.keep_on(random_adapter(model.config, rank=3, parts=("q", "down")))
        own = model.adapted(random_adapter(model.config, rank=17))
        for count in (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, MOST):
            together, alone = begun(model, count), begun(model, count)
            for number, adapter in enumerate((None, own, None)):
                ids = drawn(model, number, count)
                found = model.predict_step(ids, together, adapter=adapter)
                for row, (logits, hidden) in enumerate(found):
                    expected = model.predict(ids[row : row + 1], alone[row], adapter=adapter)
                    assert same(logits, expected[0])
                    assert same(hidden, expected[1])
            for one, other in zip(together, alone, strict=True):
                assert one.length == other.length
                assert all(np.array_equal(*rows) for rows in zip(one.rows, other.rows, strict=True))


@pytest.mark.parametrize("name", VARIATIONS)
def test_a_prompt_is_what_its_tokens_are_alone(kernels: Kernels, tmp_path: Path, name: str) -> None:
    """The rows of one sequence, too, however many go in a pass: blocks, what is left of them."""
    for isa in kernels.available():
        model = made(tmp_path / isa, kernels.with_isa(isa), threads=2, **VARIATIONS[name])
        ids, alone = drawn(model, 1, 61), model.new_cache(CONTEXT)
        expected = np.concatenate([model.predict(ids[at : at + 1], alone)[0] for at in range(61)])
        for cuts in ([61], [33, 20, 8], [5, 6, 7, 9, 10, 11, 12, 1]):
            cache = model.new_cache(CONTEXT)
            pieces = np.split(ids, np.cumsum(cuts)[:-1])
            found = np.concatenate([model.predict_each(piece, cache) for piece in pieces])
            assert same(found, expected)


def test_many_rows_go_in_blocks(
    kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More sequences than the scratch memory has rows for."""
    whole = made(tmp_path, kernels)
    monkeypatch.setattr("inference.kernels.plan.MAX_ROWS", 8)
    blocks = made(tmp_path, kernels)
    ids = drawn(whole, 5, MOST)
    one, other = (model.predict_step(ids, begun(model, MOST)) for model in (whole, blocks))
    for row in range(MOST):
        assert same(one[row][0], other[row][0])
        assert same(one[row][1], other[row][1])


def test_what_others_hold_changes_no_bit(kernels: Kernels, tmp_path: Path) -> None:
    """Other ids, other lengths, other capacities in the other rows."""
    for isa in kernels.available():
        model = made(tmp_path / isa, kernels.with_isa(isa), threads=2, **GEMMA)
        seen = set()
        for seed in range(4):
            ids = drawn(model, seed, 7)
            ids[0] = 11
            logits, hidden = model.predict_step(ids, begun(model, 7, seed))[0]
            seen.add((logits.tobytes(), hidden.tobytes()))
        assert len(seen) == 1


@pytest.fixture
def model(kernels: Kernels, tmp_path: Path) -> PackedDecoder:
    return made(tmp_path, kernels)


def refused(model: PackedDecoder, kind: type[LanaiError], ids: Any, caches: Any) -> None:
    """``kind`` is raised; nothing has moved, and no byte of a cache has changed."""
    before = [(cache.length, [rows.copy() for rows in cache.rows]) for cache in caches]
    with pytest.raises(kind):
        model.predict_step(ids, caches)
    for cache, (length, held) in zip(caches, before, strict=True):
        assert cache.length == length
        assert all(np.array_equal(*rows) for rows in zip(cache.rows, held, strict=True))


@pytest.mark.parametrize("wrong", [83, -1, 1 << 40])
def test_an_id_that_is_no_token_is_refused(model: PackedDecoder, wrong: int) -> None:
    """``UsageError``, whichever row has it."""
    refused(model, UsageError, np.array([1, 2, wrong]), begun(model, 3))


def test_a_full_cache_is_refused(model: PackedDecoder) -> None:
    """``ContextOverflow`` for all: the first rows have not moved either."""
    caches = [*begun(model, 2), model.new_cache(3)]
    model.predict(np.arange(3), caches[2])
    refused(model, ContextOverflow, np.arange(3), caches)


def test_each_row_needs_its_own_cache(model: PackedDecoder) -> None:
    """``UsageError`` for the same one twice, for one too few, for none and for other ids."""
    caches = begun(model, 2)
    refused(model, UsageError, np.arange(2), [caches[0], caches[0]])
    refused(model, UsageError, np.arange(3), caches)
    refused(model, UsageError, np.arange(0), [])
    refused(model, UsageError, np.arange(2, dtype=np.int32), caches)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"capacity": 16, "length": 16}, 2, id="full"),
        pytest.param({"capacity": 1 << 20, "length": CONTEXT}, 2, id="beyond the positions"),
        pytest.param({"length": -1}, 1, id="negative length"),
        pytest.param({"twice": True}, 1, id="the same twice"),
        pytest.param({"ids": [1, 83]}, 1, id="beyond the vocabulary"),
        pytest.param({"ids": []}, 1, id="no rows"),
        pytest.param({"adapters": 3}, 1, id="too many adapters"),
        pytest.param({"abi": 3}, 1, id="another version"),
    ],
)
def test_the_kernels_check_for_themselves(
    model: PackedDecoder, change: dict[str, Any], code: int
) -> None:
    """``lanai_step`` gives its code before it writes anything."""
    caches = begun(model, 2)
    ids = np.array(change.pop("ids", [1, 2]), np.int64)
    adapters = structures.Adapters(count=change.pop("adapters", 0))
    model._plan.abi = change.pop("abi", structures.ABI)
    last = caches[0 if change.pop("twice", False) else 1].structure
    for cache in caches:
        cache.structure.length = cache.length
    for field, value in change.items():
        setattr(last, field, value)
    out = np.full((2, 83 + 72), 7, np.float32)
    pointer = ctypes.POINTER(structures.Cache)
    given = model._kernels.code.lanai_step(
        model._plan,
        adapters,
        (pointer * 2)(pointer(caches[0].structure), pointer(last)),
        ids.ctypes.data,
        len(ids),
        out.ctypes.data,
        out.ctypes.data,
    )
    assert given == code
    assert caches[0].structure.length == caches[0].length
    assert (out == 7).all()


def test_nothing_of_a_step_stays(model: PackedDecoder) -> None:
    """One request's end overwrites what the step left of all; the others go on as they would."""
    adapter = model.adapted(random_adapter(model.config, rank=4))
    caches, others = begun(model, 6), begun(model, 6)
    ids = drawn(model, 1, 6)
    model.predict_step(ids, caches, adapter=adapter)
    model.predict_step(ids, others, adapter=adapter)
    assert model.scratch.any()
    assert model.lifting.room.any()
    caches[2].wipe()
    assert not model.scratch.any()
    assert not model.lifting.room.any()
    assert not any(rows.any() for rows in caches[2].rows)
    left = [0, 1, 3, 4, 5]
    found = model.predict_step(ids[left], [caches[row] for row in left])
    expected = model.predict_step(ids, others)
    for row, each in zip(left, found, strict=True):
        assert same(each[0], expected[row][0])


def test_a_runner_steps_them_in_one_call(
    model: PackedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions are those of each alone, and their arrays belong to the caller."""
    runner = DecoderRunner(model)
    prompts = [drawn(model, row, 5 + row).astype(np.int32) for row in range(5)]
    slots, apart = ([runner.begin(30, 0) for _ in prompts] for _ in range(2))
    for slot, other, prompt in zip(slots, apart, prompts, strict=True):
        slot.forward(prompt)
        other.forward(prompt)
    last = drawn(model, 9, 5).astype(np.int32)
    expected = [other.forward(last[row : row + 1]) for row, other in enumerate(apart)]
    with monkeypatch.context() as patch:
        patch.delattr(PackedDecoder, "_run")
        first = runner.step(slots, last)
        runner.step(slots, last)
    for row, found in enumerate(first):
        assert same(found.logits, expected[row].logits)
        assert same(found.hidden, expected[row].hidden)
