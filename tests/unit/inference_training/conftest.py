"""Tiny models and sequences for the tests of training."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.testing.random_packed import tiny_config, write_tiny_packed
from inference.testing.tiny_model import write_tiny_model
from inference.training import Batch, Example, TrainableDecoder


def write_packed_folder(folder: Path, **changes: Any) -> Path:
    """An installed packed model of random weights, biases included."""
    path = write_tiny_packed(folder, tiny_config(**changes), bias=True)
    manifest = {"schema": "lanai.model/1", "format": "packed", "file": path.name}
    (folder / "lanai.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(
    params=[{}, {"qk_norm": True}, {"window": 5}, {"query_scale": 0.3}], ids=lambda p: str(p)
)
def packed_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One for each variation of a decoder."""
    return write_packed_folder(tmp_path / "packed", **request.param)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers in float32, with a tokenizer and a chat template."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> TrainableDecoder:
    return TrainableDecoder.load(tiny_folder, precision="float32")


@pytest.fixture(scope="session")
def tiny_packed(tmp_path_factory: pytest.TempPathFactory) -> TrainableDecoder:
    """A packed model of random weights, with Q/K norms and a sliding window."""
    folder = write_packed_folder(tmp_path_factory.mktemp("packed"), qk_norm=True, window=5)
    return TrainableDecoder.load(folder, precision="float32")


@pytest.fixture
def pair() -> Batch:
    """Two sequences of different length, only some of their tokens wanted."""
    random = torch.Generator().manual_seed(5)
    examples = []
    for length in (9, 6):
        ids = torch.randint(83, (length,), generator=random)
        examples.append(Example(ids=ids, wanted=torch.arange(length) > 3))
    return Batch.of(examples, [0, 1])
