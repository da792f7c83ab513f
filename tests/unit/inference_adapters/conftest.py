"""A tiny base model with adapters of random numbers, and the compiled kernels."""

from pathlib import Path

import pytest
import torch

from inference.adapters.base import config_at
from inference.architectures import DecoderConfig
from inference.testing import write_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """On a busy machine two threads spend whole time slices waiting for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_settings(tiny_base: Path) -> DecoderConfig:
    return config_at(tiny_base)
