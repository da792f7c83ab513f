"""Packing a source on a 4-bit grid to fewer bits: codes are kept as far as the bits reach."""

from pathlib import Path

import numpy as np
import pytest
import torch
from packed_folders import installed_at, say_packed

from inference.adapters import matrix_shapes
from inference.formats.packed import WEIGHTS, write_packed
from inference.formats.packed_matrix import PackedMatrix
from inference.matrix import GridMatrix, PlainMatrix
from inference.packing.assembly import packed_matrix, plain_matrix
from inference.packing.kept import KEPT, kept_grid
from inference.packing.pack import pack
from inference.profiling import Plan, profile
from inference.testing import write_tiny_model
from inference.testing.random_packed import tiny_config
from inference.text import load_text_model

PROSE = "the quick brown fox jumps over the lazy dog. " * 40


def grid(rows: int, columns: int, seed: int) -> PackedMatrix:
    random = torch.Generator().manual_seed(seed)
    scale = 0.02 * (1 + torch.rand(rows, columns // 32, generator=random))
    codes = torch.randint(0, 16, (rows, columns), generator=random, dtype=torch.uint8)
    kept = kept_grid(GridMatrix(codes=codes, scale=scale, minimum=-7.5 * scale))
    return packed_matrix(kept, KEPT)


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, dict[str, PackedMatrix]]:
    """A model all of whose layers lie on a grid, and its matrices."""
    config = tiny_config(vocabulary=288, width=64, ffn_width=128, max_context=1024)
    shapes = matrix_shapes(config)
    matrices = {name: grid(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}
    table = torch.randn(288, 64, generator=torch.Generator().manual_seed(9))
    norms = ["final_norm"] + [
        f"layers.{at}.{name}" for at in (0, 1) for name in ("attention_norm", "ffn_norm")
    ]
    ones = {name: np.ones(64, np.float32) for name in norms}
    folder = tmp_path / "grid"
    folder.mkdir()
    whole = matrices | {"embedding": plain_matrix(PlainMatrix.of(table), 32)}
    write_packed(folder / WEIGHTS, config, 32, whole, ones)
    say_packed(folder)
    return folder, matrices


def test_some_codes_are_kept(source: tuple[Path, dict[str, PackedMatrix]], tmp_path: Path) -> None:
    """Under a budget that lies between, some matrices are the source's own to the last bit, the
    others take fewer bits, and all together keep to the budget."""
    folder, before = source
    text = load_text_model(write_tiny_model(tmp_path / "text"))
    packed = pack(folder, text, PROSE, bits=4.3, group=32, say=lambda _: None)
    body = {name: it for name, it in packed.matrices.items() if name.startswith("layers.")}
    whole = [name for name, it in body.items() if it.offsets is not None and it.bits == 4]
    assert 0 < len(whole) < len(body)
    for name in whole:
        assert np.array_equal(body[name].codes, before[name].codes)
        np.testing.assert_allclose(
            body[name].dense_rows(0, 16), before[name].dense_rows(0, 16), rtol=0.01, atol=1e-3
        )
    weights = sum(it.shape[0] * it.shape[1] for it in body.values())
    assert sum(it.bytes for it in body.values()) * 8 <= 4.3 * weights


@pytest.mark.parametrize(("bits", "group"), [(4.3, 32), (3.6, 64)])
def test_the_group_is_that_of_the_grid_where_most_codes_fit(
    source: tuple[Path, dict[str, PackedMatrix]], tmp_path: Path, bits: float, group: int
) -> None:
    """From 4 bits on the source's own 32 columns, below 64."""
    text = load_text_model(write_tiny_model(tmp_path / "text"))
    assert pack(source[0], text, PROSE, bits=bits, say=lambda _: None).group == group


def test_a_profile_chooses_the_same(
    source: tuple[Path, dict[str, PackedMatrix]], tmp_path: Path
) -> None:
    """A profile of that source knows which codes are kept: the group, and the way of each matrix,
    are the packer's."""
    text = load_text_model(write_tiny_model(tmp_path / "text"))
    model = installed_at(source[0], "llama")
    plan = Plan(threads=1, calibration=PROSE, bits=4.3, rounds=1)
    found = profile(model, model, text, plan)
    packed = pack(source[0], text, PROSE, bits=4.3, say=lambda _: None)
    assert found.group == packed.group == 32
    assert found.allocation.chosen == {
        name: (it.bits, it.offsets is not None)
        for name, it in packed.matrices.items()
        if name.startswith("layers.")
    }
