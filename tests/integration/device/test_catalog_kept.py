"""The default device model is packed where it is pulled, of the installed source."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from inference.catalog import Catalog, Progress
from inference.catalog.entries import load_entries
from inference.formats.packed import PackedFile
from inference.loading import open_weights
from inference.matrix import GridMatrix
from inference.packing.kept import kept_grid
from lanai.errors import ChecksumMismatch
from lanai.folders import Folders

PACKED, SOURCE = "smollm2-135m-instruct", "smollm2-135m-instruct-source"


def no_network(wheel: str, folder: Path, *, size: int, progress: Progress) -> Path:
    raise AssertionError(wheel)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder that holds the source alone; `make test` has pulled it."""
    source = Folders.standard().models / SOURCE
    if not (source / "lanai.json").is_file():
        message = f"{SOURCE} is not installed; run `lanai models pull {SOURCE}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / SOURCE).symlink_to(source)
    return tmp_path / "models"


def test_the_default_model_comes_out_to_the_byte(folder: Path) -> None:
    """Packed of the source with no network: the pinned digest, its licence, nothing beside it."""
    catalog = Catalog(folder, wheels=no_network)
    model = catalog.pull(PACKED)
    assert (model.format, model.sha256) == ("packed", load_entries()[PACKED].sha256)
    assert model.source.startswith(f"packed:{SOURCE}@sha256:")
    assert {path.name for path in model.path.iterdir()} == {
        "lanai.json",
        "model.safetensors",
        "text.json",
        "tokenizer.json",
        "LICENSE",
    }
    _, weights, _ = open_weights(folder / SOURCE)
    down = weights.matrix("down", (576, 1536), 29)
    assert isinstance(down, GridMatrix)
    ours = PackedFile.open(model.path / "model.safetensors").matrices["layers.29.down"]
    assert (ours.dense_rows(0, 576) == kept_grid(down).dense(32).numpy()).all()
    assert (kept_grid(down).codes == down.codes).float().mean() > 0.9999
    assert catalog.pull(PACKED) == model


def test_bytes_the_catalog_does_not_know_are_not_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that rounded otherwise would be told, and left without a model."""
    known = load_entries()
    other = {**known, PACKED: replace(known[PACKED], sha256="00" * 32)}
    for module in ("catalog", "recipes"):
        monkeypatch.setattr(f"inference.catalog.{module}.load_entries", lambda: other)
    with pytest.raises(ChecksumMismatch):
        Catalog(folder, wheels=no_network).pull(PACKED)
    assert [path.name for path in folder.iterdir()] == [SOURCE]
