"""One profile of a packed model of random weights, made once."""

from pathlib import Path

import pytest

from inference.catalog import Catalog
from inference.packing.calibration import bundled_text
from inference.profiling import Plan, Profile, profile
from inference.testing import write_tiny_model
from inference.text import TextModel, load_text_model
from lanai.cli.mount import run

WORDS = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. "


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``source``, and ``packed`` from it at 3.9 bits."""
    folder = tmp_path_factory.mktemp("profiled")
    source = write_tiny_model(folder / "source")
    prose = folder / "prose.txt"
    prose.write_text(WORDS * 60)
    packing = ["models", "pack", str(source), "--bits", "3.9", "--out", str(folder / "packed")]
    assert run([*packing, "--calibration", str(prose)]) == 0
    return folder


@pytest.fixture(scope="session")
def text(models: Path) -> TextModel:
    return load_text_model(models / "source")


@pytest.fixture(scope="session")
def profiled(models: Path, text: TextModel) -> Profile:
    catalog = Catalog(models)
    plan = Plan(
        threads=1,
        calibration=WORDS * 60,
        rounds=2,
        ids=text.encode(bundled_text())[:512],
        window=64,
        chunks=4,
    )
    packed, source = (catalog.find(str(models / name)) for name in ("packed", "source"))
    return profile(packed, source, text, plan)
