"""Models of the catalog that are packed where they are pulled, of the installed sources."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from inference.catalog import Catalog, Progress
from inference.catalog.entries import load_entries
from inference.catalog.installed import read_manifest
from inference.decoder import load_decoder
from inference.formats.packed import PackedFile
from inference.loading import open_weights
from inference.matrix import GridMatrix
from inference.packing.kept import kept_grid
from inference.text import load_text_model
from lanai.cli.mount import run
from lanai.folders import Folders
from lanai.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A default model, its licence's files, and one of its matrices whose codes are kept."""

    name: str
    licence: frozenset[str]
    down: int
    shape: tuple[int, int]

    @property
    def source(self) -> str:
        return f"{self.name}-source"


DEVICE = Kept(
    name=Settings().device_model, licence=frozenset({"LICENSE"}), down=29, shape=(576, 1536)
)
CLOUD = Kept(
    name=Settings().cloud_model,
    licence=frozenset({"GEMMA_TERMS.html", "NOTICE.md"}),
    down=9,
    shape=(640, 2048),
)


SMALL = "smollm2-135m-instruct-small"
TEXT = (
    "The sea is blue because water takes the red part of the light away. Deep down there is no "
    "light at all, and the animals that live there make their own."
)


def no_network(wheel: str, folder: Path, *, size: int, progress: Progress) -> Path:
    raise AssertionError(wheel)


def installed_source(kept: Kept) -> Path:
    """`make test` has pulled it."""
    source = Folders.standard().models / kept.source
    if not (source / "lanai.json").is_file():
        message = f"{kept.source} is not installed; run `lanai models pull {kept.source}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("kept", "under"),
    [(DEVICE, DEVICE.source), (CLOUD, CLOUD.name)],
    ids=["of its source", "of the source under its own name"],
)
def test_a_default_model_comes_out_to_the_byte(folder: Path, kept: Kept, under: str) -> None:
    """Packed with no network: the pinned digest, its licence, nothing beside it. A source that an
    earlier Lanai installed under the model's own name does as well, and is replaced."""
    source = installed_source(kept)
    (folder / under).mkdir()
    for file in source.iterdir():
        (folder / under / file.name).symlink_to(file)
    catalog = Catalog(folder, wheels=no_network)
    assert catalog.find(under).format == "gguf"
    model = catalog.pull(kept.name)
    assert (model.format, model.sha256) == ("packed", load_entries()[kept.name].sha256)
    assert model.source.startswith(f"packed:{kept.source}@sha256:")
    assert {path.name for path in model.path.iterdir()} == kept.licence | {
        "lanai.json",
        "model.safetensors",
        "text.json",
        "tokenizer.json",
    }
    assert {path.name for path in folder.iterdir()} == {kept.name, under}
    assert catalog.pull(kept.name) == model
    _, weights, _ = open_weights(source)
    down = weights.matrix("down", kept.shape, kept.down)
    assert isinstance(down, GridMatrix)
    ours = PackedFile.open(model.path / "model.safetensors").matrices[f"layers.{kept.down}.down"]
    assert (ours.dense_rows(0, kept.shape[0]) == kept_grid(down).dense(32).numpy()).all()
    assert (kept_grid(down).codes == down.codes).float().mean() > 0.9999


def test_the_small_model_comes_out_to_the_byte(folder: Path) -> None:
    """Of the source and the shipped delta: the pinned digest, its adapter, 3.5 bits in the layers.

    It runs, and what it says of a text is near to what the source says.
    """
    source = installed_source(DEVICE)
    (folder / DEVICE.source).symlink_to(source)
    catalog = Catalog(folder, wheels=no_network)
    model = catalog.pull(SMALL)
    assert (model.sha256, model.adapter) == (load_entries()[SMALL].sha256, "adapter")
    assert catalog.verify(SMALL) == model
    packed = folder / "packed"  # what `lanai models pack` takes for 3.5 bits of this source
    assert run(["models", "pack", str(source), "--out", str(packed)]) == 0
    assert read_manifest(packed).sha256 == model.sha256
    assert catalog.pull(SMALL) == model
    assert {path.name for path in model.path.iterdir()} == DEVICE.licence | {
        "adapter",
        "lanai.json",
        "model.safetensors",
        "text.json",
        "tokenizer.json",
    }
    matrices = PackedFile.open(model.path / "model.safetensors").matrices
    body = [each for name, each in matrices.items() if name.startswith("layers.")]
    weights = sum(each.shape[0] * each.shape[1] for each in body)
    assert sum(each.bytes for each in body) * 8 / weights <= 3.5
    ids = torch.tensor(load_text_model(source).encode(TEXT))
    lost = {}
    for path in (source, model.path):
        decoder = load_decoder(path, context_tokens=64)
        said = decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits
        lost[path] = float(torch.nn.functional.cross_entropy(said[:-1].float(), ids[1:]))
    assert lost[model.path] == pytest.approx(lost[source], abs=0.3)
