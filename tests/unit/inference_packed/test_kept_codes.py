"""Packing that keeps the codes of a source on a 4-bit grid."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.formats.packed import PackedFile
from inference.formats.packed_matrix import PackedMatrix
from inference.formats.packed_source import PackedSource
from inference.matrix import GridMatrix, PlainMatrix
from inference.packing.assembly import packed_matrix
from inference.packing.kept import KEPT, kept_grid
from inference.testing import write_tiny_model
from inference.testing.random_packed import random_matrix, tiny_config
from lanai.cli.mount import run

ROWS, COLUMNS = 21, 96


def grid(*, middle: float = 0.0, seed: int = 1) -> GridMatrix:
    """Groups about ``middle`` steps from zero, steps within a factor of three."""
    random = torch.Generator().manual_seed(seed)
    shape = (ROWS, COLUMNS // 32)
    scale = 0.01 * (1 + 2 * torch.rand(shape, generator=random))
    aside = middle + 2 * torch.rand(shape, generator=random) - 1
    return GridMatrix(
        codes=torch.randint(0, 16, (ROWS, COLUMNS), generator=random, dtype=torch.uint8),
        scale=scale,
        minimum=scale * (aside - 7.5),
    )


def by_column(values: torch.Tensor) -> torch.Tensor:
    return values.repeat_interleave(32, 1)


def source_of(matrices: dict[str, PackedMatrix]) -> PackedSource:
    file = PackedFile(
        path=Path("none"), config=tiny_config(), group=32, matrices=matrices, vectors={}
    )
    return PackedSource(file)


def test_codes_stay_what_they_are() -> None:
    """Where zero lies within a group's reach, not one code changes."""
    source = grid()
    assert torch.equal(kept_grid(source).codes, source.codes)


def test_what_is_lost_is_a_fraction_of_a_step() -> None:
    """A 32nd of a step for the middle, and what rounding the step to 1 of 255 moves its ends."""
    source = grid()
    kept = kept_grid(source)
    lost = (kept.dense(32) - source.dense()).abs() / by_column(source.scale)
    step = by_column(kept.grid.scales.float())
    assert bool((lost <= (1 / 32 + 7.5 * 0.5 / step) * 1.01).all())
    assert float(lost.square().mean()) < 0.002  # rounding to the grid itself lost 1/12


def test_the_file_holds_it() -> None:
    """The packed matrix stands for what was chosen, padding rows included."""
    kept = kept_grid(grid())
    packed = packed_matrix(kept, KEPT)
    dense = packed.dense_rows(0, ROWS)
    np.testing.assert_allclose(dense, kept.dense(32).numpy(), rtol=1e-6)


def test_without_kernels_it_is_a_grid_again() -> None:
    """Torch's int4 products get the same codes, steps and minima; other palettes stay numbers."""
    kept = packed_matrix(kept_grid(grid()), KEPT)
    random = random_matrix(np.random.default_rng(0), ROWS, COLUMNS, 4, 32, offsets=True)
    bytes_ = random_matrix(np.random.default_rng(0), ROWS, COLUMNS, 8, 32)
    source = source_of({"kept": kept, "bytes": bytes_})
    assert source.all_on_grid()
    again = source.matrix("kept")
    assert isinstance(again, GridMatrix)
    assert torch.equal(again.codes, grid().codes)
    dense = kept.dense_rows(0, ROWS)
    np.testing.assert_allclose(again.dense().numpy(), dense, rtol=1e-5, atol=1e-6)
    other = source_of({"kept": kept, "random": random})
    assert not other.all_on_grid()
    assert isinstance(other.matrix("random"), PlainMatrix)


@pytest.mark.parametrize("middle", [12.0, -30.0])
def test_groups_far_from_zero_get_a_wider_step(middle: float) -> None:
    """No offset reaches them: their weights get the nearest codes of a wider grid."""
    source = grid(middle=middle)
    kept = kept_grid(source)
    steps, _ = kept.grid.by_column(COLUMNS, 32)
    lost = (kept.dense(32) - source.dense()).abs()
    assert bool((steps * 16 > by_column(source.scale) * 1.01).any())
    assert bool((lost <= 8 * steps * 1.1).all())


def test_groups_of_one_value_and_of_zeroes() -> None:
    """No spread, no weight: half a step of what no offset reaches, and nothing."""
    source = grid()
    flat = GridMatrix(
        codes=source.codes,
        scale=torch.zeros_like(source.scale),
        minimum=torch.zeros_like(source.minimum),
    )
    flat.minimum[0] = 0.5
    dense = kept_grid(flat).dense(32)
    assert torch.allclose(dense[0], torch.tensor(0.5), rtol=8.5 / 127)
    assert float(dense[1:].abs().max()) < 1e-20


def test_a_source_without_codes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Floating-point weights have no codes to keep: exit code 2 and a hint; nothing is written."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    source = write_tiny_model(tmp_path / "noise")
    out = tmp_path / "out"
    assert run(["models", "pack", str(source), "--keep-codes", "--out", str(out)]) == 2
    assert "hint:" in capsys.readouterr().err
    assert not out.exists()
    assert run(["models", "pack", str(source), "--keep-codes", "--bits", "4", "--out", "x"]) == 2
