"""A packed model as a delta of its source, and back to the byte."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.catalog.copying import digest_of
from inference.deltas.delta_file import Delta
from inference.deltas.making import make_delta
from inference.deltas.prediction import Predictor, Spread, padded_weights
from inference.deltas.restoring import fill_restored, restored
from inference.formats.packed import WEIGHTS, PackedFile, write_packed
from inference.formats.packed_matrix import BITS, PLAIN_BITS
from inference.loading import open_weights
from inference.matrix import GridMatrix, PlainMatrix
from inference.packing.assembly import Packed, add_ends
from inference.packing.kept import layer_matrices
from inference.testing import write_tiny_model
from inference.testing.random_packed import random_matrix
from lanai.errors import ModelFormatError, UsageError

GROUP = 32
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(range(256))}
UNHURRIED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("source") / "noise")


@pytest.fixture(scope="module")
def packed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any bytes at all in its layers: 2, 3 and 4 bits, palettes in no order, offsets or none."""
    config, read, _ = open_weights(source)
    random, made = np.random.default_rng(5), Packed(config=config, group=GROUP)
    for layer in range(config.layers):
        for at, (name, matrix) in enumerate(layer_matrices(config, read, layer)):
            bits = BITS[(at + layer) % 3]
            made.matrices[name] = random_matrix(
                random, *matrix.shape, bits, GROUP, offsets=at % 2 == 1
            )
    add_ends(made, read)
    path = tmp_path_factory.mktemp("packed") / WEIGHTS
    write_packed(path, config, GROUP, made.matrices, made.vectors)
    return path


@pytest.fixture(scope="module")
def delta(source: Path, packed: Path) -> Delta:
    file, weights = PackedFile.open(packed), digest_of(packed)
    return make_delta(file, source, of="the source", weights=weights, files=FILES)


@pytest.fixture(scope="module")
def written(delta: Delta, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("delta") / "it.delta"
    delta.write(path)
    return path


def test_it_comes_back_to_the_byte(
    source: Path, packed: Path, written: Path, tmp_path: Path
) -> None:
    """Through the file, whatever the codes, scales and padding are; its adapter too."""
    layers: list[tuple[int, int]] = []
    read = Delta.open(written)
    fill_restored(tmp_path, source, read, progress=lambda *at: layers.append(at))
    assert (tmp_path / WEIGHTS).read_bytes() == packed.read_bytes()
    assert {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()} == FILES
    assert layers == [(1, 2), (2, 2)]
    assert (read.source, read.group) == ("the source", GROUP)


def test_without_an_adapter_there_is_none(source: Path, delta: Delta, tmp_path: Path) -> None:
    """No empty folder that would have to be read."""
    fill_restored(tmp_path, source, replace(delta, files={}), progress=lambda *_: None)
    assert not (tmp_path / "adapter").exists()


def test_another_source_is_refused(packed: Path, tmp_path: Path) -> None:
    """Embeddings of another seed: making would give a model that nobody packed."""
    other = write_tiny_model(tmp_path / "other", seed=8)
    with pytest.raises(UsageError, match="not made of this source") as caught:
        make_delta(PackedFile.open(packed), other, of="", weights="", files={})
    assert caught.value.hint


def test_matrices_of_8_bits_are_refused(source: Path, packed: Path) -> None:
    """In the layers: a delta would have nothing to say of them."""
    file = PackedFile.open(packed)
    name = "layers.1.up"
    shape = file.matrices[name].shape
    plain = random_matrix(np.random.default_rng(1), *shape, PLAIN_BITS, GROUP)
    wide = replace(file, matrices={**file.matrices, name: plain})
    with pytest.raises(UsageError, match=r"layers\.1\.up has 8 bits"):
        make_delta(wide, source, of="", weights="", files={})


def test_a_source_of_another_shape_is_refused(delta: Delta, source: Path) -> None:
    """A layer the delta does not know."""
    fewer = {name: each for name, each in delta.matrices.items() if name != "layers.1.up"}
    with pytest.raises(UsageError, match="not made of this source"):
        restored(replace(delta, matrices=fewer), source, progress=lambda *_: None)


def test_other_weights_of_the_same_shape_do_not_pass(delta: Delta, tmp_path: Path) -> None:
    """What comes out is not what was packed, and is said to be damaged."""
    other = write_tiny_model(tmp_path / "other", seed=8)
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelFormatError, match="damaged") as caught:
        fill_restored(tmp_path / "out", other, delta, progress=lambda *_: None)
    assert caught.value.hint


def test_row_scales_that_nobody_wrote_are_no_crash(delta: Delta, source: Path) -> None:
    """Infinite, no number, and below zero: codes come out, or it does not fit together."""
    stored = delta.row_scales.copy()
    stored[:4] = [0x7F80, 0x7FC0, 0xBF80, 0x7F7F]
    with pytest.raises(ModelFormatError, match="damaged"):
        restored(replace(delta, row_scales=stored), source, progress=lambda *_: None)


@UNHURRIED
@given(data=st.data())
def test_a_changed_file_never_gives_another_model(
    source: Path, packed: Path, written: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Bits flipped anywhere, bytes cut off: the same model, or our own error."""
    content = bytearray(written.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.sampled_from([0, 0, 1, 7, 300]))
    changed = tmp_path / "changed.delta"
    changed.write_bytes(bytes(content[: len(content) - cut]))
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    try:
        fill_restored(out, source, Delta.open(changed), progress=lambda *_: None)
    except (ModelFormatError, UsageError):
        return
    finally:
        found = {path.name: path.read_bytes() for path in (out / "adapter").glob("*")}
        shutil.rmtree(out / "adapter", ignore_errors=True)
    assert (out / WEIGHTS).read_bytes() == packed.read_bytes()
    assert found == FILES


def _grids() -> Iterator[GridMatrix]:
    random = torch.Generator().manual_seed(1)
    for rows, columns in ((16, 64), (21, 96)):
        shape = (rows, columns // 32)
        yield GridMatrix(
            codes=torch.randint(0, 16, (rows, columns), generator=random, dtype=torch.uint8),
            scale=torch.rand(shape, generator=random),
            minimum=torch.rand(shape, generator=random) - 0.5,
        )


def test_weights_are_read_without_fused_arithmetic() -> None:
    """A product rounded to float32, then a sum: what every processor does alike. Padded."""
    for grid in _grids():
        rows, columns = grid.shape
        padded = padded_weights(grid, 64)
        assert padded.shape == (-(-rows // 16) * 16, -(-columns // 64) * 64)
        for row, column in ((0, 0), (rows - 1, columns - 1), (3, 40)):
            scale = np.float32(grid.scale[row, column // 32])
            product = np.float32(float(grid.codes[row, column]) * float(scale))
            expected = np.float32(float(product) + float(grid.minimum[row, column // 32]))
            assert padded[row, column] == expected
        assert not padded[rows:].any()
        assert not padded[:, columns:].any()


def test_the_nearest_code_is_foreseen() -> None:
    """Of weights on the levels themselves, and of those that lie beyond both ends."""
    palette = np.array([20, -100, 90, -30], np.int8)  # codes in no order
    predictor = Predictor(2, palette)
    steps = np.full((1, 6), 0.5, np.float32)
    weights = np.array([[10, -50, 45, -15, -900, 900]], np.float32)
    nearest, places = predictor.codes(weights, steps, None)
    contexts = predictor.code_contexts(places, np.zeros(6, np.uint8))
    assert nearest.tolist() == [[0, 1, 2, 3, 1, 2]]
    assert len(set(contexts[0, :4].tolist())) > 1
    shifted, _ = predictor.codes(weights, steps, np.full((1, 6), 60, np.float32))
    assert shifted.tolist() == [[3, 1, 0, 1, 1, 2]]  # -40, -160, 30, -90 and both ends


def test_scales_and_offsets_are_foreseen_from_the_spread() -> None:
    """A group twice as wide has twice the scale; one that lies aside has an offset."""
    values = torch.zeros(16, 96)
    values[0, ::2], values[0, 1::2] = -1.0, 1.0
    values[0, 32:64] *= 2
    values[0, 64:] += 3
    spread = Spread.of(padded_weights(PlainMatrix.of(values), 32), 32)
    assert spread.most[0].tolist() == [1, 2, 4]
    assert spread.middle[0].tolist() == [0, 0, 3]
    row_scale = np.full(16, 0.01, np.float32)
    scales = np.tile(np.array([[10, 20, 40]], np.float32), (16, 1))
    reach = spread.reach(row_scale, scales[:1].repeat(16, 0) * (spread.most > 0))
    predictor = Predictor(4, np.arange(-128, 128, 16).astype(np.int8))
    assert reach == pytest.approx(10)
    assert predictor.scales(spread, row_scale, reach)[0].tolist() == [10, 20, 40]
    offsets = predictor.offsets(spread, row_scale, scales).view(np.int8)
    assert offsets[0].tolist() == [0, 0, 8]  # 3 / 0.4, to the next whole
